// dst = Σ c_k·x_k over TERMS terms. A row of workgroups is an image.
#entry combine
@compute @workgroup_size(64)
fn combine(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let n = g.y + p.first;
  let to = dst_image(n);
#for k < TERMS
  let src${k} = x${k}_image(n);
#end
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    var sum = p.c0 * $x0[src0 + i];
#for k < TERMS - 1
    sum += p.c${k + 1} * $x${k + 1}[src${k + 1} + i];
#end
    $dst[to + i] = sum;
  }
}
