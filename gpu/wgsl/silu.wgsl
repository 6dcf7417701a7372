// x·sigmoid(x): value, adjoint, tangent (jvp_silu) and second coefficient
// (jet2_silu). A row of workgroups is an image.
#include math

#entry silu
@compute @workgroup_size(64)
fn silu(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.y);
  let src = x_image(g.y);
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    $dst[to + i] = silu_value($x[src + i]);
  }
}

#entry silu_adjoint
@compute @workgroup_size(64)
fn silu_adjoint(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.y);
  let src = x_image(g.y);
  let up = dy_image(g.y);
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    let v = silu_slope($x[src + i]) * $dy[up + i];
#if ACCUMULATE
    $dst[to + i] += v;
#else
    $dst[to + i] = v;
#end
  }
}

#entry jvp_silu
@compute @workgroup_size(64)
fn jvp_silu(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.y);
  let src = x_image(g.y);
  let along = a_image(g.y);
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    $dst[to + i] = silu_slope($x[src + i]) * $a[along + i];
  }
}

#entry jet2_silu
@compute @workgroup_size(64)
fn jet2_silu(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.y);
  let src = x_image(g.y);
  let one = a_image(g.y);
  let two = b_image(g.y);
  let both = ab_image(g.y);
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    let d = silu_curve($x[src + i]);
    $dst[to + i] = d.x * $ab[both + i] + d.y * ($a[one + i] * $b[two + i]);
  }
}
