// Convolutions with stride 1 in tiles that a workgroup shares: for adapters with
// fast workgroup memory.
alias Value = f32;
alias Values = vec4<f32>;

fn value(v: f32) -> f32 {
  return v;
}

fn values(v: vec4<f32>) -> vec4<f32> {
  return v;
}

fn scales(n: u32) -> vec4<f32> {
  return vec4<f32>(1.0, 1.0, 1.0, 1.0);
}
#include tiles
