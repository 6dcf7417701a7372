// The convolutions of conv_tiled.wgsl and conv_tiled_f16.wgsl, which say what a tile
// holds: Value, and Values for four; value and values, which make them of float32;
// and scales(n), what pixels and weights are multiplied with before, and their sums
// after, for image n.
//
// A workgroup computes 4·QUADS output channels of a tile of pixels, an invocation four
// of them at a run of pixels, CHUNK input channels at a time. Weights are those of
// conv.wgsl, and so is the order of every sum.

// tiled3 is the 3×3 convolution on tiles of 2·DOWN rows by 4·ACROSS columns; an
// invocation has 2×4 pixels. Workgroups: tiles, blocks of output channels, images.
#entry tiled3
var<workgroup> inputs: array<Value, ${CHUNK * (2 * DOWN + 2) * (4 * ACROSS + 2)}>;
var<workgroup> taps: array<Values, ${QUADS * CHUNK * 9}>;

@compute @workgroup_size(${QUADS * DOWN * ACROSS})
fn tiled3(@builtin(local_invocation_index) id: u32, @builtin(workgroup_id) g: vec3<u32>) {
  let quad = id / ${DOWN * ACROSS}u;
  let row = id / ${ACROSS}u % ${DOWN}u * 2u;
  let col = id % ${ACROSS}u * 4u;
  let y0 = g.x / p.across * ${2 * DOWN}u;
  let x0 = g.x % p.across * ${4 * ACROSS}u;
  let block = (g.y + p.first) * ${QUADS}u;
  let n = g.z;
  let image = x_image(n);
  let scale = scales(n);
#for r < 2
#for c < 4
  var a${r}_${c} = vec4<f32>(0.0, 0.0, 0.0, 0.0);
#end
#end
  for (var i0: u32 = 0u; i0 < p.inputs; i0 += ${CHUNK}u) {
    for (var j: u32 = id; j < ${CHUNK * (2 * DOWN + 2) * (4 * ACROSS + 2)}u; j += ${QUADS * DOWN * ACROSS}u) {
      let i = i0 + j / ${(2 * DOWN + 2) * (4 * ACROSS + 2)}u;
      let y = y0 + j / ${4 * ACROSS + 2}u % ${2 * DOWN + 2}u; // one more than in the image
      let x = x0 + j % ${4 * ACROSS + 2}u;
      var v = 0.0;
      if (i < p.inputs && y >= 1u && y <= p.height && x >= 1u && x <= p.width) {
        v = $x[image + (i * p.height + y - 1u) * p.width + x - 1u];
      }
      inputs[j] = value(v * scale.x);
    }
    for (var j: u32 = id; j < ${QUADS * CHUNK * 9}u; j += ${QUADS * DOWN * ACROSS}u) {
      let i = i0 + j / 9u % ${CHUNK}u;
      let q = block + j / ${9 * CHUNK}u;
      var w = vec4<f32>(0.0, 0.0, 0.0, 0.0);
      if (i < p.inputs && q < p.quads) {
        w = $w[(q * p.inputs + i) * 9u + j % 9u];
      }
      taps[j] = values(w * scale.y);
    }
    workgroupBarrier();
    for (var i: u32 = 0u; i < ${CHUNK}u; i += 1u) {
      let at = (i * ${2 * DOWN + 2}u + row) * ${4 * ACROSS + 2}u + col;
      let tap = (quad * ${CHUNK}u + i) * 9u;
#for r < 4
#for c < 6
      let x${r}_${c} = f32(inputs[at + ${r * (4 * ACROSS + 2) + c}u]);
#end
#end
#for k < 9
      let w${k} = vec4<f32>(taps[tap + ${k}u]);
#for r < 2
#for c < 4
      a${r}_${c} += w${k} * x${r + k / 3}_${c + k % 3};
#end
#end
#end
    }
    workgroupBarrier();
  }
  let q = block + quad;
  if (q >= p.quads) {
    return;
  }
  var b = vec4<f32>(0.0, 0.0, 0.0, 0.0);
  if (p.biased == 1u) {
    b = $bias[q];
  }
#for r < 2
#for c < 4
  if (y0 + row + ${r}u < p.height && x0 + col + ${c}u < p.width) {
    let v = a${r}_${c} * scale.z * scale.w + b;
    let pixel = (y0 + row + ${r}u) * p.width + x0 + col + ${c}u;
#for o < 4
    if (q * 4u + ${o}u < p.outputs) {
      let at = (q * 4u + ${o}u) * p.height * p.width + pixel;
      if (p.added == 1u) {
        $dst[dst_image(n) + at] = v[${o}] + $add[add_image(n) + at];
      } else {
        $dst[dst_image(n) + at] = v[${o}];
      }
    }
#end
  }
#end
#end
}

// tiled1 is the 1×1 convolution on 8·RUNS pixels; an invocation has 8, each RUNS
// apart. Workgroups: tiles of an image's pixels, blocks of output channels, images.
#entry tiled1
var<workgroup> inputs: array<Value, ${CHUNK * 8 * RUNS}>;
var<workgroup> taps: array<Values, ${QUADS * CHUNK}>;

@compute @workgroup_size(${QUADS * RUNS})
fn tiled1(@builtin(local_invocation_index) id: u32, @builtin(workgroup_id) g: vec3<u32>) {
  let quad = id / ${RUNS}u;
  let run = id % ${RUNS}u;
  let x0 = g.x * ${8 * RUNS}u;
  let block = (g.y + p.first) * ${QUADS}u;
  let n = g.z;
  let image = x_image(n);
  let scale = scales(n);
#for c < 8
  var a${c} = vec4<f32>(0.0, 0.0, 0.0, 0.0);
#end
  for (var i0: u32 = 0u; i0 < p.inputs; i0 += ${CHUNK}u) {
    for (var j: u32 = id; j < ${CHUNK * 8 * RUNS}u; j += ${QUADS * RUNS}u) {
      let i = i0 + j / ${8 * RUNS}u;
      let x = x0 + j % ${8 * RUNS}u;
      var v = 0.0;
      if (i < p.inputs && x < p.pixels) {
        v = $x[image + i * p.pixels + x];
      }
      inputs[j] = value(v * scale.x);
    }
    for (var j: u32 = id; j < ${QUADS * CHUNK}u; j += ${QUADS * RUNS}u) {
      let i = i0 + j % ${CHUNK}u;
      let q = block + j / ${CHUNK}u;
      var w = vec4<f32>(0.0, 0.0, 0.0, 0.0);
      if (i < p.inputs && q < p.quads) {
        w = $w[p.w_first + n * p.w_image + q * p.inputs + i];
      }
      taps[j] = values(w * scale.y);
    }
    workgroupBarrier();
    for (var i: u32 = 0u; i < ${CHUNK}u; i += 1u) {
      let w = vec4<f32>(taps[quad * ${CHUNK}u + i]);
#for c < 8
      a${c} += w * f32(inputs[i * ${8 * RUNS}u + run + ${c * RUNS}u]);
#end
    }
    workgroupBarrier();
  }
  let q = block + quad;
  if (q >= p.quads) {
    return;
  }
  var b = vec4<f32>(0.0, 0.0, 0.0, 0.0);
  if (p.biased == 1u) {
    b = $bias[q];
  }
#for c < 8
  if (x0 + run + ${c * RUNS}u < p.pixels) {
    let v = a${c} * scale.z * scale.w + b;
#for o < 4
    if (q * 4u + ${o}u < p.outputs) {
      let at = (q * 4u + ${o}u) * p.pixels + x0 + run + ${c * RUNS}u;
      if (p.added == 1u) {
        $dst[dst_image(n) + at] = v[${o}] + $add[add_image(n) + at];
      } else {
        $dst[dst_image(n) + at] = v[${o}];
      }
    }
#end
  }
#end
}
