// Sums over a workgroup of up to 64 invocations, for drivers that take subgroups and
// number them. They are right for subgroups of any size, which are of at least 4 by
// the standard, and of any invocations.
enable subgroups;

var<workgroup> shares: array<f32, 16>;

struct Invocation {
  @builtin(local_invocation_index) id: u32,
  @builtin(subgroup_invocation_id) lane: u32,
  @builtin(subgroup_id) subgroup: u32,
  @builtin(num_subgroups) subgroups: u32,
}

// total is the sum of every invocation's v, subgroup by subgroup.
fn total(v: f32, own: Invocation) -> f32 {
  let share = subgroupAdd(v);
  if (own.lane == subgroupBroadcastFirst(own.lane)) {
    shares[own.subgroup] = share;
  }
  workgroupBarrier();
  var sum = 0.0;
  for (var i: u32 = 0u; i < own.subgroups; i += 1u) {
    sum += shares[i];
  }
  workgroupBarrier();
  return sum;
}
