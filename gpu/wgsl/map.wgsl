// A pointwise map or a derivative of it, see map.go, which has $value, $slope and
// $bend: f, f′ and f″ at x. A row of workgroups is an image.
#include math

@compute @workgroup_size(64)
fn $entry(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.y);
  let at = x_image(g.y);
#if 0 < ORDER
  let at_a = a_image(g.y);
#end
#if ORDER == 2
  let at_b = b_image(g.y);
  let at_ab = ab_image(g.y);
#end
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    let x = $x[at + i];
#if ORDER == 0
    let y = $value;
#end
#if ORDER == 1
    let y = $slope * $a[at_a + i];
#end
#if ORDER == 2
    let y = $slope * $ab[at_ab + i] + $bend * ($a[at_a + i] * $b[at_b + i]);
#end
#if ACCUMULATE
    $dst[to + i] += y;
#else
    $dst[to + i] = y;
#end
  }
}
