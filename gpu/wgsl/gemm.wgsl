// C = α·A·B, or C += α·A·B, for every head of every image. An invocation computes
// ROWS×COLS values. Element (i, j) of a matrix is at i·…_row + j·…_col, its head h
// at h·…_head.
#entry gemm
@compute @workgroup_size(64)
fn gemm(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let id = p.first + g.x + g.y * size.x * 64u;
  if (id >= p.last) {
    return;
  }
  let across = (p.cols + ${COLS - 1}u) / ${COLS}u;
  let down = (p.rows + ${ROWS - 1}u) / ${ROWS}u;
  let col = id % across * ${COLS}u;
  let row = id / across % down * ${ROWS}u;
  let z = id / (across * down);
  let n = z / p.heads;
  let h = z % p.heads;
  let left = a_image(n) + h * p.a_head;
  let right = b_image(n) + h * p.b_head;
#for r < ROWS
  var a${r} = left + min(row + ${r}u, p.rows - 1u) * p.a_row;
#for c < COLS
  var s${r}_${c} = 0.0;
#end
#end
#for c < COLS
  var b${c} = right + min(col + ${c}u, p.cols - 1u) * p.b_col;
#end
  for (var k: u32 = 0u; k < p.inner; k += 1u) {
    let ka = k * p.a_col;
    let kb = k * p.b_row;
#for c < COLS
    let v${c} = $b[b${c} + kb];
#end
#for r < ROWS
    let u${r} = $a[a${r} + ka];
#for c < COLS
    s${r}_${c} += u${r} * v${c};
#end
#end
  }
  let to = c_image(n) + h * p.c_head + row * p.c_row + col;
#for r < ROWS
#for c < COLS
  if (row + ${r}u < p.rows && col + ${c}u < p.cols) {
#if ACCUMULATE
    $c[to + ${r}u * p.c_row + ${c}u] += p.alpha * s${r}_${c};
#else
    $c[to + ${r}u * p.c_row + ${c}u] = p.alpha * s${r}_${c};
#end
  }
#end
#end
}
