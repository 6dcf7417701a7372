// Group normalisation with an affine map per channel and SiLU where SILU is set:
// value, adjoint, tangent (jvp_groupnorm) and second coefficient
// (jet2_groupnorm). With c = x − mean, r = 1/√(var + eps), A = gamma·(1 + scale)
// and B = beta·(1 + scale) + shift, the value is z = A·r·c + B.
//
// Each of them is some kernels: sums over slices of channels (value_slices, slices),
// over groups (group_stats, group_means; groupnorm_subgroups.wgsl has others), and
// the map itself. Slice s of p.slices
// takes every p.slices-th pixel. What belongs to a channel is prepared in
// affine[n][c] = (mean, r, A, B).
#include math

// value_slices: each slice's mean, and sum of squares about it.
#entry value_slices
@compute @workgroup_size(64)
fn value_slices(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.channels * p.slices) {
    return;
  }
  let s = g.x % p.slices;
  let base = x_image(g.y) + g.x / p.slices * p.pixels;
  var sums = vec4<f32>(0.0, 0.0, 0.0, 0.0);
  for (var i: u32 = s; i < p.pixels; i += 4u * p.slices) {
    sums.x += $x[base + i];
#for k < 3
    let i${k} = i + ${k + 1}u * p.slices;
    if (i${k} < p.pixels) {
      sums[${k + 1}] += $x[base + i${k}];
    }
#end
  }
  let count = f32((p.pixels - s + p.slices - 1u) / p.slices);
  let guess = ((sums.x + sums.y) + (sums.z + sums.w)) / count;
  var rest = 0.0;
  var squares = vec4<f32>(0.0, 0.0, 0.0, 0.0);
  for (var i: u32 = s; i < p.pixels; i += 4u * p.slices) {
    let d = $x[base + i] - guess;
    rest += d;
    squares.x += d * d;
#for k < 3
    let i${k} = i + ${k + 1}u * p.slices;
    if (i${k} < p.pixels) {
      let d${k} = $x[base + i${k}] - guess;
      rest += d${k};
      squares[${k + 1}] += d${k} * d${k};
    }
#end
  }
  let at = 2u * (g.y * p.channels * p.slices + g.x);
  $parts[at] = guess + rest / count;
  $parts[at + 1u] = max(0.0, (squares.x + squares.y) + (squares.z + squares.w) - rest * rest / count);
}

// group_stats joins the slices of a group (Chan, Golub & LeVeque 1979).
#entry group_stats
@compute @workgroup_size(64)
fn group_stats(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.groups) {
    return;
  }
  let parts = p.channels / p.groups * p.slices;
  let base = 2u * (g.y * p.channels * p.slices + g.x * parts);
  let first = $parts[base];
  var shift = 0.0;
  for (var j: u32 = 0u; j < parts; j += 1u) {
    let count = f32((p.pixels - j % p.slices + p.slices - 1u) / p.slices);
    shift += count * ($parts[base + 2u * j] - first);
  }
  let all = f32(p.channels / p.groups * p.pixels);
  let mean = first + shift / all;
  var within = 0.0;
  var between = 0.0;
  for (var j: u32 = 0u; j < parts; j += 1u) {
    let count = f32((p.pixels - j % p.slices + p.slices - 1u) / p.slices);
    let d = $parts[base + 2u * j] - mean;
    within += $parts[base + 2u * j + 1u];
    between += count * d * d;
  }
  let to = stats_image(g.y);
  $stats[to + g.x] = mean;
  $stats[to + p.groups + g.x] = 1.0 / sqrt((within + between) / all + p.eps);
}

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

// The sums of the derivatives, TERMS × (Σ v, Σ v·c) of each slice, in parts of 16: of the
// adjoint's v = A·dy·silu′(z); of the tangent's a; of the second's a, b and ab, and a
// fourth that is only Σ a·b in the place of Σ v·c.
#entry slices
@compute @workgroup_size(64)
fn slices(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.channels * p.slices) {
    return;
  }
  let channel = g.x / p.slices;
  let f = $affine[g.y % p.primal * p.channels + channel];
  let base = x_image(g.y) + channel * p.pixels;
#if ADJOINT
  let up = dy_image(g.y) + channel * p.pixels;
#else
  let along = a_image(g.y) + channel * p.pixels;
#if TERMS == 4
  let two = b_image(g.y) + channel * p.pixels;
  let both = ab_image(g.y) + channel * p.pixels;
#end
#end
#for k < TERMS
  var sum${k} = 0.0;
  var moment${k} = 0.0;
#end
  for (var start: u32 = g.x % p.slices; start < p.pixels; start += 16u * p.slices) {
#for k < TERMS
    var s${k} = 0.0;
    var m${k} = 0.0;
#end
    let end = min(p.pixels, start + 16u * p.slices);
    for (var i: u32 = start; i < end; i += p.slices) {
      let c = $x[base + i] - f.x;
#if ADJOINT && SILU
      let v0 = f.z * $dy[up + i] * silu_slope(f.y * f.z * c + f.w);
#end
#if ADJOINT && SILU == 0
      let v0 = f.z * $dy[up + i];
#end
#if ADJOINT == 0
      let v0 = $a[along + i];
#end
#if TERMS == 4
      let v1 = $b[two + i];
      let v2 = $ab[both + i];
      m3 += v0 * v1;
#end
#for k < TERMS - TERMS / 4
      s${k} += v${k};
      m${k} += v${k} * c;
#end
    }
#for k < TERMS
    sum${k} += s${k};
    moment${k} += m${k};
#end
  }
  let at = ${2 * TERMS}u * (g.y * p.channels * p.slices + g.x);
#for k < TERMS
  $parts[at + ${k}u] = sum${k};
  $parts[at + ${TERMS + k}u] = moment${k};
#end
}

// group_means adds up the slices of a group, WIDTH sums each, and divides by the
// group's values.
#entry group_means
@compute @workgroup_size(64)
fn group_means(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.groups * ${WIDTH}u) {
    return;
  }
  let parts = p.channels / p.groups * p.slices;
  let base = (g.y * p.channels * p.slices + g.x / ${WIDTH}u * parts) * ${WIDTH}u + g.x % ${WIDTH}u;
  var total = 0.0;
  for (var j: u32 = 0u; j < parts; j += 16u) {
    var part = 0.0;
    let end = min(parts, j + 16u);
    for (var k: u32 = j; k < end; k += 1u) {
      part += $parts[base + k * ${WIDTH}u];
    }
    total += part;
  }
  $means[g.y * p.groups * ${WIDTH}u + g.x] = total / f32(p.channels / p.groups * p.pixels);
}

// dx = r·(g − mean g) − r³·c·mean(g·c)
#entry groupnorm_adjoint
@compute @workgroup_size(${WORKGROUP})
fn groupnorm_adjoint(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
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
