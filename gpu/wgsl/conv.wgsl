// Convolutions with stride 1, in registers alone: an invocation computes 4·QUADS
// output channels at some pixels. Weights are [out/4][in][taps] vectors of four
// output channels. Invocations are numbered tiles first, then output channels,
// from p.first to p.last.

// transposed lays out the weights of the adjoint: channels swapped, taps reversed.
// An invocation makes the TAPS vectors of four of its outputs and one of its inputs.
#entry transposed
@compute @workgroup_size(64)
fn transposed(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let id = p.first + g.x + g.y * size.x * 64u;
  if (id >= p.last) {
    return;
  }
  let o = id % p.outputs;
  let i = id / p.outputs * 4u;
#for t < TAPS
  var v${t} = vec4<f32>(0.0, 0.0, 0.0, 0.0);
#end
#for k < 4
  if (i + ${k}u < p.inputs) {
    let at = (o / 4u * p.inputs + i + ${k}u) * ${TAPS}u;
#for t < TAPS
    v${t}[${k}] = $w[at + ${TAPS - 1 - t}u][o % 4u];
#end
  }
#end
#for t < TAPS
  $to[id * ${TAPS}u + ${t}u] = v${t};
#end
}

// stage copies channel images into planes with a border of zeros, so that conv3
// reads without bounds. Workgroups: 8×8 runs of four values, channel images.
#entry stage
@compute @workgroup_size(8, 8)
fn stage(@builtin(global_invocation_id) g: vec3<u32>) {
  let x = g.x * 4u;
  if (x >= p.row || g.y >= p.rows) {
    return;
  }
  let plane = g.z + p.first;
  let to = (plane * p.rows + g.y) * p.row + x;
  let y = g.y - 1u; // beyond the height where there is no such row
  let line = x_image(plane / p.channels + p.image) + (plane % p.channels * p.height + y) * p.width;
#for k < 4
  let x${k} = x + ${k}u - 1u;
  var v${k} = 0.0;
  if (y < p.height && x${k} < p.width) {
    v${k} = $x[line + x${k}];
  }
#end
#for k < 4
  if (x + ${k}u < p.row) {
    $padded[to + ${k}u] = v${k};
  }
#end
}

// conv3 is the 3×3 convolution at HIGH×WIDE pixels.
#entry conv3
@compute @workgroup_size(64)
fn conv3(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let id = p.first + g.x + g.y * size.x * 64u;
  if (id >= p.last) {
    return;
  }
  let tile = id % p.tiles;
  let quad = id / p.tiles * ${QUADS}u;
  let each = p.across * p.down;
  let n = tile / each;
  let y = tile % each / p.across * ${HIGH}u;
  let x = tile % p.across * ${WIDE}u;
  var at = n * p.inputs * p.plane + y * p.row + x;
#for q < QUADS
  var w${q} = (quad + ${q}u) * p.inputs * 9u;
#for r < HIGH
#for c < WIDE
  var a${q}_${r}_${c} = vec4<f32>(0.0, 0.0, 0.0, 0.0);
#end
#end
#end
  for (var i: u32 = 0u; i < p.inputs; i += 1u) {
#for r < HIGH + 2
#for c < WIDE + 2
    let x${r}_${c} = $padded[at + ${r}u * p.row + ${c}u];
#end
#end
#for q < QUADS
#for k < 9
    let k${q}_${k} = $w[w${q} + ${k}u];
#for r < HIGH
#for c < WIDE
    a${q}_${r}_${c} += k${q}_${k} * x${r + k / 3}_${c + k % 3};
#end
#end
#end
    w${q} += 9u;
#end
    at += p.plane;
  }
#for q < QUADS
  var b${q} = vec4<f32>(0.0, 0.0, 0.0, 0.0);
  if (p.biased == 1u) {
    b${q} = $bias[quad + ${q}u];
  }
#for o < 4
  let o${q}_${o} = (quad + ${q}u) * 4u + ${o}u;
  if (o${q}_${o} < p.outputs) {
    let to${q}_${o} = dst_image(p.image + n) + (o${q}_${o} * p.height + y) * p.width + x;
    let from${q}_${o} = add_image(p.image + n) + (o${q}_${o} * p.height + y) * p.width + x;
#for r < HIGH
#for c < WIDE
    if (y + ${r}u < p.height && x + ${c}u < p.width) {
      var v = a${q}_${r}_${c}[${o}] + b${q}[${o}];
      if (p.added == 1u) {
        v += $add[from${q}_${o} + ${r}u * p.width + ${c}u];
      }
      $dst[to${q}_${o} + ${r}u * p.width + ${c}u] = v;
    }
#end
#end
  }
#end
#end
}

// conv1 is the 1×1 convolution at WIDE pixels; tiles is the tiles of an image.
#entry conv1
@compute @workgroup_size(64)
fn conv1(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let id = p.first + g.x + g.y * size.x * 64u;
  if (id >= p.last) {
    return;
  }
  let all = p.tiles * p.images;
  let tile = id % all;
  let quad = id / all * ${QUADS}u;
  let n = tile / p.tiles;
  let x = tile % p.tiles * ${WIDE}u;
  var at = x_image(n);
#for c < WIDE
  let x${c} = min(x + ${c}u, p.pixels - 1u);
#end
#for q < QUADS
  let w${q} = n * p.w_image + (quad + ${q}u) * p.inputs;
#for c < WIDE
  var a${q}_${c} = vec4<f32>(0.0, 0.0, 0.0, 0.0);
#end
#end
  for (var i: u32 = 0u; i < p.inputs; i += 1u) {
#for c < WIDE
    let v${c} = $x[at + x${c}];
#end
#for q < QUADS
    let k${q} = $w[w${q} + i];
#for c < WIDE
    a${q}_${c} += k${q} * v${c};
#end
#end
    at += p.pixels;
  }
#for q < QUADS
  var b${q} = vec4<f32>(0.0, 0.0, 0.0, 0.0);
  if (p.biased == 1u) {
    b${q} = $bias[quad + ${q}u];
  }
#for o < 4
  let o${q}_${o} = (quad + ${q}u) * 4u + ${o}u;
  if (o${q}_${o} < p.outputs) {
    let to${q}_${o} = dst_image(n) + o${q}_${o} * p.pixels;
    let from${q}_${o} = add_image(n) + o${q}_${o} * p.pixels;
#for c < WIDE
    if (x + ${c}u < p.pixels) {
      var v = a${q}_${c}[${o}] + b${q}[${o}];
      if (p.added == 1u) {
        v += $add[from${q}_${o} + x${c}];
      }
      $dst[to${q}_${o} + x${c}] = v;
    }
#end
  }
#end
#end
}

// linear is the 1×1 convolution of single pixels: four output channels of WIDE
// images, numbered output channels first. tiles is the quads of output channels.
#entry linear
@compute @workgroup_size(64)
fn linear(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let id = p.first + g.x + g.y * size.x * 64u;
  if (id >= p.last) {
    return;
  }
  let quad = id % p.tiles;
  let n = id / p.tiles * ${WIDE}u;
  let w = quad * p.inputs;
#for c < WIDE
  let n${c} = min(n + ${c}u, p.images - 1u);
  let x${c} = x_image(n${c});
  var a${c} = vec4<f32>(0.0, 0.0, 0.0, 0.0);
#end
  for (var i: u32 = 0u; i < p.inputs; i += 1u) {
    let k = $w[w + i];
#for c < WIDE
    a${c} += k * $x[x${c} + i];
#end
  }
  var b = vec4<f32>(0.0, 0.0, 0.0, 0.0);
  if (p.biased == 1u) {
    b = $bias[quad];
  }
#for o < 4
  let o${o} = quad * 4u + ${o}u;
  if (o${o} < p.outputs) {
#for c < WIDE
    if (n + ${c}u < p.images) {
      var v = a${c}[${o}] + b[${o}];
      if (p.added == 1u) {
        v += $add[add_image(n${c}) + o${o}];
      }
      $dst[dst_image(n${c}) + o${o}] = v;
    }
#end
  }
#end
}
