// Group normalisation with an affine map per channel and SiLU where SILU is set:
// value, adjoint, tangent (jvp_groupnorm) and second coefficient
// (jet2_groupnorm). With c = x − mean, r = 1/√(var + eps), A = gamma·(1 + scale)
// and B = beta·(1 + scale) + shift, the value is z = A·r·c + B.
//
// These are the maps, from the groups' statistics and means of groupnorm_sums.wgsl.
// What belongs to a channel is prepared in affine[n][c] = (mean, r, A, B).
#include math

#entry affine
@compute @workgroup_size(64)
fn affine(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.channels) {
    return;
  }
  let j = g.x / (p.channels / p.groups);
  let s = stats_image(g.y);
  var a = $gamma[gamma_image(0u) + g.x];
  var b = $beta[beta_image(0u) + g.x];
#if SCALED
  let scale = 1.0 + $scale[scale_image(g.y) + g.x];
  a = a * scale;
  b = b * scale + $shift[shift_image(g.y) + g.x];
#end
  $affine[g.y * p.channels + g.x] = vec4<f32>($stats[s + j], $stats[s + p.groups + j], a, b);
}

#entry groupnorm
@compute @workgroup_size(${WORKGROUP})
fn groupnorm(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let f = $affine[g.z * p.channels + g.y];
  let slope = f.y * f.z;
  let to = dst_image(g.z) + g.y * p.pixels;
  let base = x_image(g.z) + g.y * p.pixels;
  for (var i: u32 = g.x; i < p.pixels; i += size.x * ${WORKGROUP}u) {
    let z = slope * ($x[base + i] - f.x) + f.w;
#if SILU
    $dst[to + i] = silu_value(z);
#else
    $dst[to + i] = z;
#end
  }
}

// dx = r·(g − mean g) − r³·c·mean(g·c)
#entry vjp_groupnorm
@compute @workgroup_size(${WORKGROUP})
fn vjp_groupnorm(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let f = $affine[g.z % p.primal * p.channels + g.y];
  let slope = f.y * f.z;
  let m = 2u * (g.z * p.groups + g.y / (p.channels / p.groups));
  let mean = $means[m];
  let pull = f.y * f.y * f.y * $means[m + 1u];
  let to = dst_image(g.z) + g.y * p.pixels;
  let base = x_image(g.z) + g.y * p.pixels;
  let up = dy_image(g.z) + g.y * p.pixels;
  for (var i: u32 = g.x; i < p.pixels; i += size.x * ${WORKGROUP}u) {
    let c = $x[base + i] - f.x;
#if SILU
    let v = f.z * $dy[up + i] * silu_slope(slope * c + f.w);
#else
    let v = f.z * $dy[up + i];
#end
    let d = f.y * (v - mean) - pull * c;
#if ACCUMULATE
    $dst[to + i] += d;
#else
    $dst[to + i] = d;
#end
  }
}

// The tangent of z is A·(r·(a − mean a) + r_a·c), r_a = −r³·mean(a·c).
#entry jvp_groupnorm
@compute @workgroup_size(${WORKGROUP})
fn jvp_groupnorm(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let f = $affine[g.z % p.primal * p.channels + g.y];
  let slope = f.y * f.z;
  let m = 2u * (g.z * p.groups + g.y / (p.channels / p.groups));
  let mean = $means[m];
  let turn = -f.z * f.y * f.y * f.y * $means[m + 1u];
  let to = dst_image(g.z) + g.y * p.pixels;
  let base = x_image(g.z) + g.y * p.pixels;
  let along = a_image(g.z) + g.y * p.pixels;
  for (var i: u32 = g.x; i < p.pixels; i += size.x * ${WORKGROUP}u) {
    let c = $x[base + i] - f.x;
    let t = slope * ($a[along + i] - mean) + turn * c;
#if SILU
    $dst[to + i] = silu_slope(slope * c + f.w) * t;
#else
    $dst[to + i] = t;
#end
  }
}

// The second coefficient of z is
//
//   A·(r·(ab − mean ab) + r_b·(a − mean a) + r_a·(b − mean b) + r_ab·c),
//   r_ab = 3·r⁵·mean(a·c)·mean(b·c) − r³·(mean(ab·c) + cov(a, b)).
#entry jet2_groupnorm
@compute @workgroup_size(${WORKGROUP})
fn jet2_groupnorm(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let f = $affine[g.z % p.primal * p.channels + g.y];
  let slope = f.y * f.z;
  let m = 8u * (g.z * p.groups + g.y / (p.channels / p.groups));
  let mean = vec3<f32>($means[m], $means[m + 1u], $means[m + 2u]);
  let moment = vec3<f32>($means[m + 4u], $means[m + 5u], $means[m + 6u]);
  let covariance = $means[m + 7u] - mean.x * mean.y;
  let cube = f.z * f.y * f.y * f.y;
  let turn = vec2<f32>(-cube * moment.x, -cube * moment.y);
  let bend = cube * (3.0 * f.y * f.y * moment.x * moment.y - moment.z - covariance);
  let to = dst_image(g.z) + g.y * p.pixels;
  let base = x_image(g.z) + g.y * p.pixels;
  let one = a_image(g.z) + g.y * p.pixels;
  let two = b_image(g.z) + g.y * p.pixels;
  let both = ab_image(g.z) + g.y * p.pixels;
  for (var i: u32 = g.x; i < p.pixels; i += size.x * ${WORKGROUP}u) {
    let c = $x[base + i] - f.x;
    let a = $a[one + i] - mean.x;
    let b = $b[two + i] - mean.y;
    let v = slope * ($ab[both + i] - mean.z) + turn.y * a + turn.x * b + bend * c;
#if SILU
    let d = silu_curve(slope * c + f.w);
    $dst[to + i] = d.x * v + d.y * ((slope * a + turn.x * c) * (slope * b + turn.y * c));
#else
    $dst[to + i] = v;
#end
  }
}
