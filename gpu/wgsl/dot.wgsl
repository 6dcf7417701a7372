// Partial sums of ⟨a, b⟩ of each image, which the host adds up in float64: slice j
// takes every slices-th product, at most some dozens, in four sums. They begin at p.first.
#entry dot_slices
@compute @workgroup_size(64)
fn dot_slices(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.slices) {
    return;
  }
  let left = a_image(g.y);
  let right = b_image(g.y);
  var sums = vec4<f32>(0.0, 0.0, 0.0, 0.0);
  for (var i: u32 = g.x; i < p.len; i += 4u * p.slices) {
    sums.x += $a[left + i] * $b[right + i];
#for k < 3
    let i${k} = i + ${k + 1}u * p.slices;
    if (i${k} < p.len) {
      sums[${k + 1}] += $a[left + i${k}] * $b[right + i${k}];
    }
#end
  }
  $sums[p.first + g.y * p.slices + g.x] = (sums.x + sums.y) + (sums.z + sums.w);
}
