// Limits values to [lo, hi], and the adjoint. A row of workgroups is an image.
#entry clamp_value
@compute @workgroup_size(64)
fn clamp_value(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.y);
  let src = x_image(g.y);
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    $dst[to + i] = min(max($x[src + i], p.lo), p.hi);
  }
}

#entry clamp_adjoint
@compute @workgroup_size(64)
fn clamp_adjoint(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.y);
  let src = x_image(g.y);
  let up = g_image(g.y);
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    let v = $x[src + i];
    var keep = 0.0;
    if (p.lo <= v && v <= p.hi) {
      keep = $g[up + i];
    }
    $dst[to + i] = keep;
  }
}
