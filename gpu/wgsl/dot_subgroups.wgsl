// Partial sums of ⟨a, b⟩ of each image, which the host adds up in float64: as dot.wgsl,
// but a workgroup adds up a slice. Workgroups: slices, images.
#include subgroups

#entry dot_slices
@compute @workgroup_size(64)
fn dot_slices(own: Invocation, @builtin(workgroup_id) g: vec3<u32>) {
  let left = a_image(g.y);
  let right = b_image(g.y);
  var sum = 0.0;
  for (var i: u32 = g.x * 64u + own.id; i < p.len; i += p.slices * 64u) {
    sum += $a[left + i] * $b[right + i];
  }
  let slice = total(sum, own);
  if (own.id == 0u) {
    $sums[p.first + g.y * p.slices + g.x] = slice;
  }
}
