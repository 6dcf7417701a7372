// Winograd's minimal filtering F(m×m, 3×3) (Lavin & Gray 2016): the transforms of
// weights, pixels and products; SIZE is m, POINTS m + 2. The products themselves
// are those of a 1×1 convolution for each of POINTS² points. F(4×4) has the points
// 0, ±1/√2, ±√2, ∞, F(2×2) 0, ±1, ∞, as on the CPU. Invocations are numbered tiles
// first, then channels, from p.first to p.last.

// weights: G g Gᵀ of four output channels and one input channel.
#entry weights
fn spread(g0: vec4<f32>, g1: vec4<f32>, g2: vec4<f32>) -> array<vec4<f32>, ${POINTS}> {
#if SIZE == 4
  let even = 0.33333334 * (2.0 * g0 + g2);
  let odd = 0.47140452 * g1;
  let near = 0.16666667 * (g0 + 2.0 * g2);
  let side = 0.23570226 * g1;
  return array<vec4<f32>, 6>(g0, -even - odd, odd - even, near + side, near - side, g2);
#else
  let even = 0.5 * (g0 + g2);
  let odd = 0.5 * g1;
  return array<vec4<f32>, 4>(g0, even + odd, even - odd, g2);
#end
}

@compute @workgroup_size(64)
fn weights(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let id = p.first + g.x + g.y * size.x * 64u;
  if (id >= p.last) {
    return;
  }
#for k < 9
  let g${k} = $w[id * 9u + ${k}u];
#end
#for c < 3
  let column${c} = spread(g${c}, g${c + 3}, g${c + 6});
#end
#for r < POINTS
  let row${r} = spread(column0[${r}], column1[${r}], column2[${r}]);
#for c < POINTS
  $u[${POINTS * r + c}u * p.each + id] = row${r}[${c}];
#end
#end
}

// tiles_in: Bᵀ d B of a channel's tiles.
#entry tiles_in
fn forward(x: array<f32, ${POINTS}>) -> array<f32, ${POINTS}> {
#if SIZE == 4
  let even1 = x[4] - 2.0 * x[2];
  let odd1 = 0.70710677 * (x[3] - 2.0 * x[1]);
  let even2 = x[4] - 0.5 * x[2];
  let odd2 = 1.4142135 * (x[3] - 0.5 * x[1]);
  return array<f32, 6>(x[0] + x[4] - 2.5 * x[2], even1 + odd1, even1 - odd1, even2 + odd2, even2 - odd2, x[1] + x[5] - 2.5 * x[3]);
#else
  return array<f32, 4>(x[0] - x[2], x[1] + x[2], x[2] - x[1], x[3] - x[1]);
#end
}

@compute @workgroup_size(64)
fn tiles_in(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let id = p.first + g.x + g.y * size.x * 64u;
  if (id >= p.last) {
    return;
  }
  let staged = id % p.tiles;
  let channel = id / p.tiles;
  let tile = p.tile + staged; // of all images
  let y = tile % p.each / p.across * ${SIZE}u - 1u; // wraps where there is no such row
  let x = tile % p.across * ${SIZE}u - 1u;
  let base = x_image(tile / p.each) + channel * p.height * p.width;
#for r < POINTS
  var d${r}: array<f32, ${POINTS}>;
#for c < POINTS
  d${r}[${c}] = 0.0;
  if (y + ${r}u < p.height && x + ${c}u < p.width) {
    d${r}[${c}] = $x[base + (y + ${r}u) * p.width + x + ${c}u];
  }
#end
  let row${r} = forward(d${r});
#end
#for c < POINTS
  var e${c}: array<f32, ${POINTS}>;
#for r < POINTS
  e${c}[${r}] = row${r}[${c}];
#end
  let column${c} = forward(e${c});
#for r < POINTS
  $v[(${POINTS * r + c}u * p.channels + channel) * p.tiles + staged] = column${c}[${r}];
#end
#end
}

// tiles_out: Aᵀ m A, with the bias and what is added.
#entry tiles_out
fn back(m: array<f32, ${POINTS}>) -> array<f32, ${SIZE}> {
#if SIZE == 4
  let sum1 = m[1] + m[2];
  let difference1 = m[1] - m[2];
  let sum2 = m[3] + m[4];
  let difference2 = m[3] - m[4];
  return array<f32, 4>(m[0] + sum1 + sum2, 0.70710677 * difference1 + 1.4142135 * difference2, 0.5 * sum1 + 2.0 * sum2,
    0.35355338 * difference1 + 2.828427 * difference2 + m[5]);
#else
  return array<f32, 2>(m[0] + m[1] + m[2], m[1] - m[2] + m[3]);
#end
}

@compute @workgroup_size(64)
fn tiles_out(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let id = p.first + g.x + g.y * size.x * 64u;
  if (id >= p.last) {
    return;
  }
  let staged = id % p.tiles;
  let channel = id / p.tiles;
  let tile = p.tile + staged; // of all images
  let n = tile / p.each;
  let y = tile % p.each / p.across * ${SIZE}u;
  let x = tile % p.across * ${SIZE}u;
#for c < POINTS
  var m${c}: array<f32, ${POINTS}>;
#for r < POINTS
  m${c}[${r}] = $m[(${POINTS * r + c}u * p.outputs + channel) * p.tiles + staged];
#end
  let column${c} = back(m${c});
#end
  var bias = 0.0;
  if (p.biased == 1u) {
    bias = $bias[channel];
  }
  let at = (channel * p.height + y) * p.width + x;
  let to = dst_image(n) + at;
  let more = add_image(n) + at;
#for r < SIZE
  if (y + ${r}u < p.height) {
    var e${r}: array<f32, ${POINTS}>;
#for c < POINTS
    e${r}[${c}] = column${c}[${r}];
#end
    let row${r} = back(e${r});
#for c < SIZE
    if (x + ${c}u < p.width) {
      var v = row${r}[${c}] + bias;
      if (p.added == 1u) {
        v += $add[more + ${r}u * p.width + ${c}u];
      }
      $dst[to + ${r}u * p.width + ${c}u] = v;
    }
#end
  }
#end
}
