// dst = exp(scale·x + shift). A row of workgroups is an image.
#include math

#entry exp_affine
@compute @workgroup_size(64)
fn exp_affine(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.y);
  let src = x_image(g.y);
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    $dst[to + i] = exponential(p.scale * $x[src + i] + p.shift);
  }
}
