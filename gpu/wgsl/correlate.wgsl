// Depthwise cross-correlation with one kernel. The image is first extended by its
// border (or, for the adjoint, by zeros) into planes of p.rows × p.row values; the
// adjoint then correlates with the reversed kernel over the extended domain and
// folds the border back. Workgroups: 8×8 values, or 8×8 runs of four, and channel
// images.

// extended is the index that the border puts at i.
fn extended(i: i32, size: i32) -> i32 {
#if CIRCULAR
  return ((i % size) + size) % size;
#else
  if (i < 0) {
    return -i;
  }
  return min(i, 2 * (size - 1) - i);
#end
}

#entry extend
@compute @workgroup_size(8, 8)
fn extend(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.row || g.y >= p.rows) {
    return;
  }
  let plane = g.z + p.first;
  let src = x_image(plane / p.channels) + plane % p.channels * p.height * p.width;
  let y = i32(g.y) - i32(p.before_y);
  let x = i32(g.x) - i32(p.before_x);
  var v = 0.0;
#if ADJOINT
  if (x >= 0 && y >= 0 && x < i32(p.width) && y < i32(p.height)) {
    v = $x[src + u32(y) * p.width + u32(x)];
  }
#else
  if (x < i32(p.width + p.before_x)) { // beyond is what no result needs
    v = $x[src + u32(extended(y, i32(p.height))) * p.width + u32(extended(x, i32(p.width)))];
  }
#end
  $wide[(plane * p.rows + g.y) * p.row + g.x] = v;
}

#entry correlate
@compute @workgroup_size(8, 8)
fn correlate(@builtin(global_invocation_id) g: vec3<u32>) {
  let x = g.x * 4u;
  if (x >= p.width || g.y >= p.height) {
    return;
  }
  let plane = g.z + p.first;
  let at = (plane * p.rows + g.y) * p.row + x;
  let first = k_image(0u);
  var sum = vec4<f32>(0.0, 0.0, 0.0, 0.0);
  for (var i: u32 = 0u; i < p.kernel_height; i += 1u) {
    let src = at + i * p.row;
    var part = vec4<f32>(0.0, 0.0, 0.0, 0.0);
    var v = vec4<f32>(0.0, $wide[src], $wide[src + 1u], $wide[src + 2u]);
    for (var j: u32 = 0u; j < p.kernel_width; j += 1u) {
      v = vec4<f32>(v.y, v.z, v.w, $wide[src + j + 3u]);
      let tap = i * p.kernel_width + j;
#if ADJOINT
      part += v * $k[first + p.kernel_height * p.kernel_width - 1u - tap];
#else
      part += v * $k[first + tap];
#end
    }
    sum += part;
  }
  let to = dst_image(plane / p.channels) + (plane % p.channels * p.height + g.y) * p.width + x;
#for c < 4
  if (x + ${c}u < p.width) {
    $dst[to + ${c}u] = sum[${c}];
  }
#end
}

// fold adds up what the border copied from each pixel. before_x and before_y are
// half the kernel.
#entry fold
@compute @workgroup_size(8, 8)
fn fold(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.width || g.y >= p.height) {
    return;
  }
  let plane = g.z + p.first;
  let src = plane * p.rows * p.row;
  var sum = 0.0;
#if CIRCULAR
  for (var y: u32 = (g.y + p.before_y) % p.height; y < p.rows; y += p.height) {
    for (var x: u32 = (g.x + p.before_x) % p.width; x < p.row; x += p.width) {
      sum += $wide[src + y * p.row + x];
    }
  }
#else
  // The pixel itself and its reflections at both ends; −1 where there is none.
  let y = i32(g.y);
  let x = i32(g.x);
  let before = vec2<i32>(i32(p.before_x), i32(p.before_y));
  let last = vec2<i32>(i32(p.width) - 1, i32(p.height) - 1);
  let ys = array<i32, 3>(before.y + y, select(before.y - y, -1, y == 0), select(before.y + 2 * last.y - y, -1, y == last.y));
  let xs = array<i32, 3>(before.x + x, select(before.x - x, -1, x == 0), select(before.x + 2 * last.x - x, -1, x == last.x));
#for i < 3
#for j < 3
  if (ys[${i}] >= 0 && xs[${j}] >= 0 && ys[${i}] < i32(p.rows) && xs[${j}] < i32(p.row)) {
    sum += $wide[src + u32(ys[${i}]) * p.row + u32(xs[${j}])];
  }
#end
#end
#end
  $dst[dst_image(plane / p.channels) + (plane % p.channels * p.height + g.y) * p.width + g.x] = sum;
}
