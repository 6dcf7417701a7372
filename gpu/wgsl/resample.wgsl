// Changes the resolution by two: KIND is that of compute.Resampling. Workgroups:
// 8×8 pixels of the result, channel images.
#entry resample
@compute @workgroup_size(8, 8)
fn resample(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.width || g.y >= p.height) {
    return;
  }
  let plane = g.z + p.first;
  let n = plane / p.channels;
  let c = plane % p.channels;
  let to = dst_image(n) + (c * p.height + g.y) * p.width + g.x;
#if KIND == 0
  let v = $x[x_image(n) + (c * (p.height / 2u) + g.y / 2u) * (p.width / 2u) + g.x / 2u];
#end
#if KIND == 1
  let src = x_image(n) + (c * 2u * p.height + 2u * g.y) * 2u * p.width + 2u * g.x;
  let v = ($x[src] + $x[src + 1u]) + ($x[src + 2u * p.width] + $x[src + 2u * p.width + 1u]);
#end
#if KIND == 2
  let v = $x[x_image(n) + (c * 2u * p.height + 2u * g.y) * 2u * p.width + 2u * g.x];
#end
#if KIND == 3
  var v = 0.0;
  if (g.x % 2u == 0u && g.y % 2u == 0u) {
    v = $x[x_image(n) + (c * (p.height / 2u) + g.y / 2u) * (p.width / 2u) + g.x / 2u];
  }
#end
#if ACCUMULATE
  $dst[to] += p.scale * v;
#else
  $dst[to] = p.scale * v;
#end
}
