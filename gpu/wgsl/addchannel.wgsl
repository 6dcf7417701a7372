// dst = x + e, e the same over all pixels of a channel. Workgroups: pixels,
// channels, images.
#entry addchannel
@compute @workgroup_size(64)
fn addchannel(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.z) + g.y * p.pixels;
  let src = x_image(g.z) + g.y * p.pixels;
  let e = $e[e_image(g.z) + g.y];
  for (var i: u32 = g.x; i < p.pixels; i += size.x * 64u) {
    $dst[to + i] = $x[src + i] + e;
  }
}
