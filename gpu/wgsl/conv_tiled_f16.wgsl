// The convolutions of conv_tiled.wgsl with tiles of half the size: pixels and weights
// are rounded to the 11 bits of f16, products and sums are float32. For drivers that
// take f16.
//
// So that the range of f16 is no limit, an image's pixels and a layer's weights are
// multiplied with powers of two that bring their largest to 2¹⁴ or more, and below
// 2¹⁵; what is 2⁻²⁸ of the largest keeps its 11 bits. A pixel's rounding is relative,
// 2⁻¹¹ at most, below that 2⁻³⁹ of the image's largest. The largest pixels are those of
// peaks.wgsl.
enable f16;

alias Value = f16;
alias Values = vec4<f16>;

// rounded is the nearest number of 11 bits: f16() may round either way.
fn rounded(v: f32) -> f32 {
  let bits = bitcast<u32>(v);
  let nearest = (bits + 0x1000u) & 0xffffe000u;
  return bitcast<f32>(select(nearest, bits, (bits & 0x7f800000u) == 0x7f800000u));
}

fn value(v: f32) -> f16 {
  return f16(rounded(v));
}

fn values(v: vec4<f32>) -> vec4<f16> {
  return vec4<f16>(value(v.x), value(v.y), value(v.z), value(v.w));
}

// scale is the power of two that brings top to [2¹⁴, 2¹⁵), and its inverse.
fn scale_of(top: f32) -> vec2<f32> {
  let exponent = clamp(268u - (bitcast<u32>(top) >> 23u), 1u, 253u);
  return vec2<f32>(bitcast<f32>(exponent << 23u), bitcast<f32>((254u - exponent) << 23u));
}

fn scales(n: u32) -> vec4<f32> {
  var top = 0.0;
  for (var i: u32 = 0u; i < p.parts; i += 1u) {
    top = max(top, $peaks[(p.image + n) * p.parts + i]);
  }
  let pixels = scale_of(top);
  let weights = scale_of(p.largest);
  return vec4<f32>(pixels.x, weights.x, pixels.y, weights.y);
}
#include tiles
