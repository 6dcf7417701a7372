// The largest magnitude in each of p.parts parts of an image. Workgroups: parts, images.
#entry peaks
var<workgroup> tops: array<f32, 64>;

@compute @workgroup_size(64)
fn peaks(@builtin(local_invocation_index) id: u32, @builtin(workgroup_id) g: vec3<u32>) {
  let base = x_image(g.y);
  var top = 0.0;
  for (var i: u32 = g.x * 64u + id; i < p.len; i += p.parts * 64u) {
    top = max(top, abs($x[base + i]));
  }
  tops[id] = top;
  workgroupBarrier();
  if (id == 0u) {
    for (var i: u32 = 1u; i < 64u; i += 1u) {
      top = max(top, tops[i]);
    }
    $peaks[g.y * p.parts + g.x] = top;
  }
}
