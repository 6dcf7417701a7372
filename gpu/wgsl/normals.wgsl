// N(0, 1) values of one image by Box–Muller from Philox 4×32-10 blocks: the same
// words as package diffusion's, the same values to rounding. An invocation makes
// the four values of a block.
#include math

// product is the high and the low word of a·b.
fn product(a: u32, b: u32) -> vec2<u32> {
  let a0 = a & 0xffffu;
  let a1 = a >> 16u;
  let b0 = b & 0xffffu;
  let b1 = b >> 16u;
  let low = a0 * b0;
  let middle = a1 * b0 + (low >> 16u);
  let other = a0 * b1 + (middle & 0xffffu);
  return vec2<u32>(a1 * b1 + (middle >> 16u) + (other >> 16u), a * b);
}

fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
  var c = counter;
  var k = seed;
  for (var round: u32 = 0u; round < 10u; round += 1u) {
    let one = product(0xd2511f53u, c.x);
    let two = product(0xcd9e8d57u, c.z);
    c = vec4<u32>(two.x ^ c.y ^ k.x, two.y, one.x ^ c.w ^ k.y, one.y);
    k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);
  }
  return c;
}

// normal_pair is boxMuller of package diffusion: radius √(−2 ln u), u = (a + ½)/2³²,
// at a quarter turn from the upper two bits of b and an angle within ±π/4 from the
// others.
fn normal_pair(a: u32, b: u32) -> vec2<f32> {
  var log_u = 0.0;
  if (a >= 0x80000000u) { // near 1: ln(1 − d)
    log_u = logarithm(-(f32(~a) + 0.5) * 2.3283064e-10, 0.0);
  } else {
    log_u = natural_log((f32(a) + 0.5) * 2.3283064e-10);
  }
  let radius = sqrt(-2.0 * log_u);
  let angle = (f32(i32(b & 0x3fffffffu) - 0x20000000) + 0.5) * 1.4629181e-9;
  let a2 = angle * angle;
  let s = angle * (1.0 + a2 * (-0.16666667 + a2 * (0.008333334 + a2 * (-0.0001984127 + a2 * 0.0000027557319))));
  let c = 1.0 + a2 * (-0.5 + a2 * (0.041666668 + a2 * (-0.0013888889 + a2 * (0.0000248015873 - a2 * 0.00000027557319))));
  let quarter = b >> 30u;
  var turn = vec2<f32>(c, s);
  if (quarter == 1u) {
    turn = vec2<f32>(-s, c);
  }
  if (quarter == 2u) {
    turn = vec2<f32>(-c, -s);
  }
  if (quarter == 3u) {
    turn = vec2<f32>(s, -c);
  }
  return radius * turn;
}

#entry normals
@compute @workgroup_size(64)
fn normals(@builtin(global_invocation_id) g: vec3<u32>, @builtin(num_workgroups) size: vec3<u32>) {
  let to = dst_image(p.image);
  for (var block: u32 = g.x; 4u * block < p.len; block += size.x * 64u) {
    let w = philox(vec4<u32>(p.counter0 + block, p.counter1, p.counter2, p.counter3), vec2<u32>(p.key0, p.key1));
    let v = vec4<f32>(normal_pair(w.x, w.y), normal_pair(w.z, w.w));
#for k < 4
    if (4u * block + ${k}u < p.len) {
      $dst[to + 4u * block + ${k}u] = v[${k}];
    }
#end
  }
}
