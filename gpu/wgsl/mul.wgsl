// dst = a ⊙ b, b with every channel or with one for all. Workgroups: values of
// b's channels, channels of dst for each of them, images.
#entry mul
@compute @workgroup_size(64)
fn mul(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.z) + g.y * p.len;
  let left = a_image(g.z) + g.y * p.len;
  let right = b_image(g.z);
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    $dst[to + i] = $a[left + i] * $b[right + i];
  }
}
