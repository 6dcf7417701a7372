// The sums of group normalisation and its derivatives, see groupnorm.wgsl: first of
// slices of channels (value_slices, slices), then of groups (group_stats,
// group_means; groupnorm_subgroups.wgsl has others). Slice s of p.slices takes every
// p.slices-th pixel.
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
