// dst = (scale·x + shift)^power for bases that are not negative. TWICE is twice
// the power where it is a small number that needs no logarithm, else 0. A row of
// workgroups is an image.
#include math

#entry pow_affine
@compute @workgroup_size(64)
fn pow_affine(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(g.y);
  let src = x_image(g.y);
  for (var i: u32 = g.x; i < p.len; i += size.x * 64u) {
    let base = p.scale * $x[src + i] + p.shift;
#if TWICE == 1
    let v = sqrt(base);
#end
#if TWICE == 0 - 1
    let v = 1.0 / sqrt(base);
#end
#if TWICE == 0 - 2
    let v = 1.0 / base;
#end
#if TWICE == 4
    let v = base * base;
#end
#if TWICE == 0
    var v = exponential(p.power * natural_log(max(base, 1.1754944e-38)));
    if (base < 1.1754944e-38) { // zero, or as good as
      v = p.at_zero;
    }
#end
    $dst[to + i] = v;
  }
}
