// group_stats and group_means of groupnorm_sums.wgsl with a workgroup for a group, where
// those have an invocation. Workgroups: groups, images.
#include subgroups

// group_stats joins the slices of a group (Chan, Golub & LeVeque 1979).
#entry group_stats
@compute @workgroup_size(64)
fn group_stats(own: Invocation, @builtin(workgroup_id) g: vec3<u32>) {
  let parts = p.channels / p.groups * p.slices;
  let base = 2u * (g.y * p.channels * p.slices + g.x * parts);
  let first = $parts[base];
  var shift = 0.0;
  for (var j: u32 = own.id; j < parts; j += 64u) {
    let count = f32((p.pixels - j % p.slices + p.slices - 1u) / p.slices);
    shift += count * ($parts[base + 2u * j] - first);
  }
  let all = f32(p.channels / p.groups * p.pixels);
  let mean = first + total(shift, own) / all;
  var within = 0.0;
  var between = 0.0;
  for (var j: u32 = own.id; j < parts; j += 64u) {
    let count = f32((p.pixels - j % p.slices + p.slices - 1u) / p.slices);
    let d = $parts[base + 2u * j] - mean;
    within += $parts[base + 2u * j + 1u];
    between += count * d * d;
  }
  let squares = total(within + between, own);
  if (own.id == 0u) {
    let to = stats_image(g.y);
    $stats[to + g.x] = mean;
    $stats[to + p.groups + g.x] = 1.0 / sqrt(squares / all + p.eps);
  }
}

// group_means adds up the slices of a group, WIDTH sums each, and divides by the
// group's values.
#entry group_means
@compute @workgroup_size(64)
fn group_means(own: Invocation, @builtin(workgroup_id) g: vec3<u32>) {
  let parts = p.channels / p.groups * p.slices;
  let base = (g.y * p.channels * p.slices + g.x * parts) * ${WIDTH}u;
#for k < WIDTH
  var sum${k} = 0.0;
#end
  for (var j: u32 = own.id; j < parts; j += 64u) {
#for k < WIDTH
    sum${k} += $parts[base + j * ${WIDTH}u + ${k}u];
#end
  }
  let all = f32(p.channels / p.groups * p.pixels);
  let to = (g.y * p.groups + g.x) * ${WIDTH}u;
#for k < WIDTH
  let mean${k} = total(sum${k}, own) / all;
  if (own.id == 0u) {
    $means[to + ${k}u] = mean${k};
  }
#end
}
