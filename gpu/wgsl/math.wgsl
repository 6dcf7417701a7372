// Functions that WGSL's own are too coarse for: its exp is exact to 3 + 2·|x|
// units in the last place, its log, sin and cos to 2⁻²¹ or 2⁻¹¹.

// exponential is exp(x) to about one unit in the last place: x = n·ln 2 + r, a
// polynomial in r (Moshier, Cephes), and 2ⁿ in two factors.
fn exponential(x: f32) -> f32 {
  let y = clamp(x, -104.0, 88.7228);
  let n = floor(y * 1.44269504 + 0.5);
  let r = (y - n * 0.693359375) + n * 0.00021219444;
  var s = 0.00019875691 * r + 0.0013981999;
  s = s * r + 0.008333452;
  s = s * r + 0.041665796;
  s = s * r + 0.16666665;
  s = s * r + 0.5;
  s = s * (r * r) + r + 1.0;
  let whole = i32(n);
  let half = whole / 2;
  return s * bitcast<f32>((half + 127) << 23u) * bitcast<f32>((whole - half + 127) << 23u);
}

// logarithm is ln(1 + f)·1 + e·ln 2 for |f| < 0.42: 2 artanh(f/(2 + f)).
fn logarithm(f: f32, e: f32) -> f32 {
  let s = f / (2.0 + f);
  let s2 = s * s;
  var t = 0.18181818 * s2 + 0.22222222;
  t = t * s2 + 0.2857143;
  t = t * s2 + 0.4;
  t = t * s2 + 0.6666667;
  return e * 0.693359375 + (2.0 * s + (s * s2 * t - e * 0.00021219444));
}

// natural_log is ln x for normal x > 0.
fn natural_log(x: f32) -> f32 {
  let bits = bitcast<i32>(x);
  // The exponent is chosen so that the rest lies in [√½, √2).
  let e = (bits - 0x3f3504f3) >> 23u;
  let m = bitcast<f32>(bits - (e << 23u));
  return logarithm(m - 1.0, f32(e));
}

// power is base^exponent for base ≥ 0; at_zero is 0^exponent.
fn power(base: f32, exponent: f32, at_zero: f32) -> f32 {
  if (base < 1.1754944e-38) { // zero, or as good as
    return at_zero;
  }
  return exponential(exponent * natural_log(base));
}

// sigmoids is sigmoid(x) and 1 − sigmoid(x), both without cancellation.
fn sigmoids(x: f32) -> vec2<f32> {
  let e = exponential(-abs(x));
  let q = 1.0 / (1.0 + e);
  if (x < 0.0) {
    return vec2<f32>(e * q, q);
  }
  return vec2<f32>(q, e * q);
}

fn silu_value(x: f32) -> f32 {
  return x * sigmoids(x).x;
}

// silu_slope is the first derivative.
fn silu_slope(x: f32) -> f32 {
  let s = sigmoids(x);
  return s.x * (1.0 + x * s.y);
}

// silu_curve is the first and the second derivative.
fn silu_curve(x: f32) -> vec2<f32> {
  let s = sigmoids(x);
  return vec2<f32>(s.x * (1.0 + x * s.y), s.x * s.y * (2.0 + x * (s.y - s.x)));
}
