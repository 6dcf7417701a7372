// Softmax down the columns of square matrices of p.tokens, its tangent
// (jvp_softmax) and its second coefficient (jet2_softmax). An invocation takes a
// column, a row of workgroups a head of an image. Sums are in parts of 16.
#include math

#entry softmax
@compute @workgroup_size(${WORKGROUP})
fn softmax(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.tokens) {
    return;
  }
  let first = s_image(g.y / p.heads) + g.y % p.heads * p.tokens * p.tokens + g.x;
  let last = first + p.tokens * p.tokens;
  var top = $s[first];
  for (var i: u32 = first; i < last; i += p.tokens) {
    top = max(top, $s[i]);
  }
  var sum = 0.0;
  for (var start: u32 = first; start < last; start += 16u * p.tokens) {
    var part = 0.0;
    let end = min(last, start + 16u * p.tokens);
    for (var i: u32 = start; i < end; i += p.tokens) {
      let e = exponential($s[i] - top);
      $s[i] = e;
      part += e;
    }
    sum += part;
  }
  let scale = 1.0 / sum;
  for (var i: u32 = first; i < last; i += p.tokens) {
    $s[i] *= scale;
  }
}

// a ← P∘(a − ⟨P, a⟩), the tangent, and the adjoint too.
#entry jvp_softmax
@compute @workgroup_size(${WORKGROUP})
fn jvp_softmax(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.tokens) {
    return;
  }
  let head = g.y % p.heads * p.tokens * p.tokens + g.x;
  let weights = s_image(g.y / p.heads) + head;
  let first = a_image(g.y / p.heads) + head;
  let size = p.tokens * p.tokens;
  var mean = 0.0;
  for (var start: u32 = 0u; start < size; start += 16u * p.tokens) {
    var part = 0.0;
    let end = min(size, start + 16u * p.tokens);
    for (var i: u32 = start; i < end; i += p.tokens) {
      part += $s[weights + i] * $a[first + i];
    }
    mean += part;
  }
  for (var i: u32 = 0u; i < size; i += p.tokens) {
    $a[first + i] = $s[weights + i] * ($a[first + i] - mean);
  }
}

// With L_a = a − ⟨P, a⟩ and m = L_a·L_b + ab: ab ← P∘(m − ⟨P, m⟩), a ← P∘L_a and
// b ← P∘L_b.
#entry jet2_softmax
@compute @workgroup_size(${WORKGROUP})
fn jet2_softmax(@builtin(global_invocation_id) g: vec3<u32>) {
  if (g.x >= p.tokens) {
    return;
  }
  let head = g.y % p.heads * p.tokens * p.tokens + g.x;
  let weights = s_image(g.y / p.heads) + head;
  let one = a_image(g.y / p.heads) + head;
  let two = b_image(g.y / p.heads) + head;
  let both = ab_image(g.y / p.heads) + head;
  let size = p.tokens * p.tokens;
  var mean = vec2<f32>(0.0, 0.0);
  for (var start: u32 = 0u; start < size; start += 16u * p.tokens) {
    var part = vec2<f32>(0.0, 0.0);
    let end = min(size, start + 16u * p.tokens);
    for (var i: u32 = start; i < end; i += p.tokens) {
      part += $s[weights + i] * vec2<f32>($a[one + i], $b[two + i]);
    }
    mean += part;
  }
  var middle = 0.0;
  for (var start: u32 = 0u; start < size; start += 16u * p.tokens) {
    var part = 0.0;
    let end = min(size, start + 16u * p.tokens);
    for (var i: u32 = start; i < end; i += p.tokens) {
      let m = ($a[one + i] - mean.x) * ($b[two + i] - mean.y) + $ab[both + i];
      $ab[both + i] = m;
      part += $s[weights + i] * m;
    }
    middle += part;
  }
  for (var i: u32 = 0u; i < size; i += p.tokens) {
    let w = $s[weights + i];
    $a[one + i] = w * ($a[one + i] - mean.x);
    $b[two + i] = w * ($b[two + i] - mean.y);
    $ab[both + i] = w * ($ab[both + i] - middle);
  }
}
