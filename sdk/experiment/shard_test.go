package experiment

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/cmi-diffusion/cmi/sdk"
	"github.com/cmi-diffusion/cmi/sdk/job"
	"github.com/cmi-diffusion/cmi/sdk/picture"
)

const testLease = 200 * time.Millisecond

func testRun(g Grid) Run {
	return Run{Version: "v1", Model: "tiny16", Device: "cpu", Arithmetic: "go", Settings: settings, Grid: g, Seed: 1, Preset: "faces64", Facts: [][2]string{{"steps", "2"}}}
}

func shards(t testing.TB, dir string, g Grid) *ShardFolder {
	t.Helper()
	f, err := OpenShards(dir, testRun(g), testLease)
	require.NoError(t, err)
	return f
}

// merged merges folders of shards and writes the report, as complete does.
func merged(t testing.TB, dirs ...string) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "merged")
	m, err := Merge(t.Context(), dirs, out, nil)
	require.NoError(t, err)
	assert.True(t, m.Linked)
	assert.Empty(t, m.Damaged)
	s, err := m.Summarise(1)
	require.NoError(t, err)
	require.NoError(t, m.Frechet(t.Context(), s, "FID-like (none)", brightness{}, nil, nil))
	require.NoError(t, Report{Preset: Presets[0], Facts: m.Run.Facts, Shown: 1}.Write(m.Folder, s))
	return out
}

// Every job is in one part, and all samples of a cell for a picture are together and in order.
func TestParts(t *testing.T) {
	g := small
	g.Names = []string{"a", "b", "c", "d", "e", "f", "g"}
	for n := 1; n < 70; n++ {
		seen := map[Job]bool{}
		for i := 1; i <= n; i++ {
			p := Part{i, n}
			require.NoError(t, p.Validate())
			for k := range g.partLen(p) {
				j := g.partJob(p, k)
				assert.False(t, seen[j])
				seen[j] = true
				assert.Equal(t, k%2+1, j.Sample)
			}
		}
		assert.Len(t, seen, g.Len(), "%d parts", n)
	}
	for _, p := range []Part{{0, 1}, {2, 1}, {1, 0}, {-1, 3}} {
		assert.Error(t, p.Validate(), "%v", p)
	}
}

// Whatever the partition, overlaps and batches: a merge is what one machine makes.
func TestPartitions(t *testing.T) {
	r, whole := runner(t), t.TempDir()
	complete(t, r, whole)
	want := tree(t, whole)
	type shard struct {
		dir  string
		part Part
	}
	for _, partition := range [][]shard{
		{{"a", Part{1, 1}}},
		{{"a", Part{2, 2}}, {"a", Part{1, 2}}},
		{{"a", Part{1, 3}}, {"b", Part{2, 3}}, {"a", Part{3, 3}}},
		{{"a", Part{1, 2}}, {"b", Part{1, 1}}, {"c", Part{2, 5}}},
		{{"a", Part{1, 40}}, {"a", Part{1, 1}}}, // more parts than jobs
	} {
		root := t.TempDir()
		var dirs []string
		for k, s := range partition {
			dir := filepath.Join(root, s.dir)
			f := shards(t, dir, small)
			r.Batch = k
			require.NoError(t, r.RunShard(t.Context(), f, s.part))
			if k == 0 || !strings.Contains(strings.Join(dirs, " "), dir) {
				dirs = append(dirs, dir)
			}
		}
		same(t, want, tree(t, merged(t, dirs...)))
	}
}

// Several places of a process and several processes at once share one folder, and nothing is
// computed twice.
func TestConcurrentShards(t *testing.T) {
	r, whole := runner(t), t.TempDir()
	complete(t, r, whole)
	dir := filepath.Join(t.TempDir(), "a")
	var lock sync.Mutex
	begun := map[Job]int{}
	var all sync.WaitGroup
	for range 3 {
		one := runner(t)
		one.More = []*sdk.Place{sdk.PlaceOf(tiny(t))}
		one.OnEvent = func(e Event) {
			lock.Lock()
			defer lock.Unlock()
			if e.Kind == "begin" {
				begun[e.Job]++
			}
		}
		f, err := OpenShards(dir, testRun(small), time.Minute)
		require.NoError(t, err)
		all.Go(func() {
			// Each waits for what the others do, looking again after a quarter of a lease.
			f.lease = testLease
			assert.NoError(t, one.RunShard(t.Context(), f, Part{1, 1}))
		})
	}
	all.Wait()
	assert.Len(t, begun, small.Len())
	for j, n := range begun {
		assert.Equal(t, 1, n, "%v", j)
	}
	same(t, tree(t, whole), tree(t, merged(t, dir)))
	left, err := filepath.Glob(filepath.Join(dir, "work", "*", "*", "*.claim.*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// A job of any method that is stopped after any step goes on to the same bytes.
func TestStateOfEveryMethod(t *testing.T) {
	g := Grid{Tasks: []string{"sr4"}, Methods: job.Methods(), CMI: []Term{Without}, Names: []string{"a"}, Samples: 1}
	r := runner(t)
	r.Spec.Steps = 4
	whole, dir := t.TempDir(), t.TempDir()
	require.NoError(t, r.RunShard(t.Context(), shards(t, whole, g), Part{1, 1}))
	f := shards(t, dir, g)
	stopped := map[string]int{}
	for {
		ctx, cancel := context.WithCancel(t.Context())
		r.OnStep = func(j Job, p sdk.Progress) {
			stopped[j.Method]++
			cancel()
		}
		err := r.RunShard(ctx, f, Part{1, 1})
		cancel()
		if err == nil {
			break
		}
		require.ErrorIs(t, err, context.Canceled)
	}
	assert.Len(t, stopped, len(g.Methods))
	for method, n := range stopped {
		assert.Equal(t, 4, n, "%s: steps, none twice", method)
	}
	for k := range g.Len() {
		j := g.Job(k)
		for _, ext := range []string{".png", ".json"} {
			want, err := os.ReadFile(shards(t, whole, g).file(j, ext))
			require.NoError(t, err)
			got, err := os.ReadFile(f.file(j, ext))
			require.NoError(t, err)
			if ext == ".json" {
				want, got = firstLine(want), firstLine(got)
			}
			assert.True(t, string(want) == string(got), "%v%s", j, ext)
		}
		assert.NoFileExists(t, f.file(j, ".state"))
	}
}

func jsonLine(text []byte, to *Result) error { return json.Unmarshal(firstLine(text), to) }

func firstLine(text []byte) []byte {
	line, _, _ := strings.Cut(string(text), "\n")
	return []byte(line)
}

// States that are damaged, cut or of another run are no states: the job begins anew.
func TestDamagedStates(t *testing.T) {
	g := small
	g.Names, g.Samples = []string{"a"}, 1
	r, whole, dir := runner(t), t.TempDir(), t.TempDir()
	require.NoError(t, r.RunShard(t.Context(), shards(t, whole, g), Part{1, 1}))
	f := shards(t, dir, g)
	for k := range g.Len() {
		ctx, cancel := context.WithCancel(t.Context())
		r.OnStep = func(Job, sdk.Progress) { cancel() }
		require.ErrorIs(t, r.RunShard(ctx, f, Part{k + 1, g.Len()}), context.Canceled)
		cancel()
		path := f.file(g.partJob(Part{k + 1, g.Len()}, 0), ".state")
		state, err := os.ReadFile(path)
		require.NoError(t, err)
		switch k % 4 {
		case 0:
			state = state[:k]
		case 1:
			state = state[:len(state)-1]
		case 2:
			state[len(state)/2] ^= 1
		case 3: // of another run
			other := shards(t, t.TempDir(), g)
			other.made = "0123456789abcdef"
			j := g.partJob(Part{k + 1, g.Len()}, 0)
			require.NoError(t, os.MkdirAll(imageDir(other.dir, 0), 0o755))
			c, err := f.state(j, 3*16*16)
			require.NoError(t, err)
			require.NoError(t, other.saveState(j, *c))
			state, err = os.ReadFile(other.file(j, ".state"))
			require.NoError(t, err)
		}
		require.NoError(t, os.WriteFile(path, state, 0o644))
	}
	var kinds []string
	r.OnStep, r.OnEvent = nil, func(e Event) { kinds = append(kinds, e.Kind) }
	require.NoError(t, r.RunShard(t.Context(), f, Part{1, 1}))
	assert.Equal(t, g.Len(), strings.Count(strings.Join(kinds, " "), "damaged"))
	assert.NotContains(t, kinds, "resume")
	same(t, tree(t, merged(t, whole)), tree(t, merged(t, dir)))
}

// A claim is one process's; it is taken over when it is given up or not renewed, by one process,
// and its former owner learns of that.
func TestClaims(t *testing.T) {
	dir := t.TempDir()
	a, b := shards(t, dir, small), shards(t, dir, small)
	j := small.Job(0)
	require.NoError(t, os.MkdirAll(imageDir(dir, 0), 0o755))
	first, err := a.claim(j)
	require.NoError(t, err)
	require.NotNil(t, first)
	for range 3 { // renewed claims are never stale
		other, err := b.claim(j)
		require.NoError(t, err)
		assert.Nil(t, other)
		b.seen[first.path] = observation{b.seen[first.path].line, time.Now().Add(-time.Hour)}
		require.NoError(t, a.renew(first))
	}
	other, err := b.claim(j)
	require.NoError(t, err)
	assert.Nil(t, other, "seen for the first time with this beat")
	b.seen[first.path] = observation{b.seen[first.path].line, time.Now().Add(-time.Hour)}
	second, err := b.claim(j)
	require.NoError(t, err)
	require.NotNil(t, second)
	assert.Equal(t, 2, second.generation)
	assert.ErrorIs(t, a.renew(first), errLost)

	require.NoError(t, b.release(second))
	third, err := a.claim(j)
	require.NoError(t, err)
	require.NotNil(t, third, "given up: no wait")
	assert.ErrorIs(t, b.renew(second), errLost)

	// Of many that find the same dead claim, one gets it.
	require.NoError(t, a.release(third))
	var lock sync.Mutex
	var all sync.WaitGroup
	won := 0
	for range 50 {
		f := shards(t, dir, small)
		all.Go(func() {
			c, err := f.claim(j)
			assert.NoError(t, err)
			lock.Lock()
			defer lock.Unlock()
			if c != nil {
				won++
			}
		})
	}
	all.Wait()
	assert.Equal(t, 1, won)

	// A finished job is nobody's to take, and whoever still works on it learns of it.
	require.NoError(t, os.WriteFile(a.file(j, ".json"), nil, 0o644))
	assert.ErrorIs(t, a.renew(&claim{path: a.claimPath(j, 4), next: a.claimPath(j, 5), result: a.file(j, ".json")}), errLost)
	require.NoError(t, a.done(j, &claim{generation: 4}))
	c, err := b.claim(j)
	require.NoError(t, err)
	assert.Nil(t, c)
	left, err := filepath.Glob(filepath.Join(imageDir(dir, 0), "*.claim.*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

// What killed processes left goes when a part ends: what finished jobs no longer need, and old unfinished files. What a
// living process may still use stays.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	f, r := shards(t, dir, small), runner(t)
	require.NoError(t, r.RunShard(t.Context(), f, Part{1, 2}))
	done, left := small.partJob(Part{1, 2}, 0), small.partJob(Part{2, 2}, 0)
	require.NoError(t, os.MkdirAll(imageDir(dir, left.Image), 0o777))
	old, fresh := filepath.Join(imageDir(dir, 0), ".sr4.png.01234567.tmp"), filepath.Join(imageDir(dir, 0), ".sr4.png.12345678.tmp")
	gone := []string{f.claimPath(done, 1), f.claimPath(done, 2), f.file(done, ".state"), old}
	stay := []string{f.claimPath(left, 1), f.file(left, ".state"), fresh, f.file(done, ".json"), f.restored(done)}
	for _, path := range append(gone, stay[:3]...) {
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o666))
	}
	require.NoError(t, os.Chtimes(old, time.Time{}, time.Now().Add(-11*testLease)))
	require.NoError(t, os.Chtimes(fresh, time.Time{}, time.Now().Add(time.Hour)))
	require.NoError(t, r.RunShard(t.Context(), f, Part{1, 2}))
	require.NoError(t, f.sweep(Part{2, 2})) // the other picture
	for _, path := range gone {
		assert.NoFileExists(t, path)
	}
	for _, path := range stay {
		assert.FileExists(t, path)
	}
}

// A process that was paused for longer than its lease stops when it wakes, without an error and
// without a wrong result.
func TestLostLease(t *testing.T) {
	dir := t.TempDir()
	f := shards(t, dir, small)
	r := runner(t)
	stolen := false
	r.OnStep = func(j Job, _ sdk.Progress) {
		if !stolen {
			stolen = true
			require.NoError(t, os.WriteFile(f.claimPath(j, 2), []byte("0 0 held 1s other\n"), 0o644))
			for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				if f.renew(&claim{path: f.claimPath(j, 1), next: f.claimPath(j, 2), result: f.file(j, ".json")}) != nil {
					break
				}
			}
			time.Sleep(f.lease) // our own renewal has come by
		}
	}
	require.NoError(t, r.RunShard(t.Context(), f, Part{1, 1}))
	whole := t.TempDir()
	complete(t, runner(t), whole)
	same(t, tree(t, whole), tree(t, merged(t, dir)))
}

// Merge says what is missing, damaged, of two minds or of another run.
func TestMergeRefuses(t *testing.T) {
	g := small
	g.Names = []string{"a"}
	r := runner(t)
	root := t.TempDir()
	a, b, out := filepath.Join(root, "a"), filepath.Join(root, "b"), filepath.Join(root, "out")
	require.NoError(t, r.RunShard(t.Context(), shards(t, a, g), Part{1, 2}))
	refused := func(want string, dirs ...string) {
		t.Helper()
		_, err := Merge(t.Context(), dirs, out, nil)
		require.ErrorContains(t, err, want)
		assert.NoDirExists(t, out)
		left, err := filepath.Glob(filepath.Join(root, ".*"))
		require.NoError(t, err)
		assert.Empty(t, left)
	}
	_, err := Merge(t.Context(), nil, out, nil)
	require.ErrorContains(t, err, "no folder")
	refused("holds no shards", root)
	refused("8 of 16 results are missing, the first: box dps+cmi a, box dps+cmi a (sample 2)", a)
	require.NoError(t, r.RunShard(t.Context(), shards(t, b, g), Part{1, 1}))
	for name, change := range map[string]func(*Run){
		"version is v2 and v1": func(r *Run) { r.Version = "v2" }, "model is": func(r *Run) { r.Model = "x" }, "device is": func(r *Run) { r.Device = "x" },
		"arithmetic of the device is avx2 and go": func(r *Run) { r.Arithmetic = "avx2" }, "setting --seed is 4 and 3": func(r *Run) { r.Settings = Settings{"--steps": "2", "--seed": "4"} },
		"grid is": func(r *Run) { r.Grid.Names = []string{"b"} },
	} {
		run := testRun(g)
		change(&run)
		other := filepath.Join(t.TempDir(), "other")
		_, err := OpenShards(other, run, testLease)
		require.NoError(t, err)
		refused(name, other, a)
		_, err = OpenShards(a, run, testLease)
		require.ErrorContains(t, err, "holds results of another run: "+strings.SplitN(name, " is", 2)[0])
	}

	// Damage in one folder is mended by the other; in both it is a gap.
	j := g.partJob(Part{1, 2}, 0)
	fa, fb := shards(t, a, g), shards(t, b, g)
	png, err := os.ReadFile(fa.restored(j))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(fa.restored(j), png[:20], 0o644))
	m, err := Merge(t.Context(), []string{a, b}, out, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{fa.file(j, ".json")}, m.Damaged)
	again, err := Merge(t.Context(), []string{a, b}, out, nil) // is there
	require.NoError(t, err)
	assert.Equal(t, g.Len(), again.Done())
	require.NoError(t, os.RemoveAll(out))
	require.NoError(t, os.Remove(fb.restored(j)))
	refused("1 of 16 results are missing, the first: "+j.String()+"; 2 of them are damaged: remove "+fa.file(j, ".json"), a, b)
	require.NoError(t, os.WriteFile(fa.restored(j), png, 0o644))
	require.NoError(t, os.Remove(fa.truth(j)))
	require.NoError(t, os.WriteFile(fb.truth(j), png, 0o644))
	refused("truth.png is damaged or gone", a, b)
	require.NoError(t, os.Remove(fb.file(j, ".json")))
	require.NoError(t, r.RunShard(t.Context(), fb, Part{1, 1})) // as the messages say

	// Two results for one job, each whole.
	var one Result
	text, err := os.ReadFile(fa.file(j, ".json"))
	require.NoError(t, err)
	require.NoError(t, jsonLine(text, &one))
	one.SSIM += 0.001
	require.NoError(t, os.Remove(fa.file(j, ".json")))
	require.NoError(t, fa.put(j, &one, 1))
	refused("are different results of "+j.String(), a, b)
	one.SSIM += 0.001
	require.ErrorContains(t, fa.put(j, &one, 1), "does not give the same bytes twice")
	fa.made = "0123456789abcdef"
	require.NoError(t, os.Remove(fa.file(j, ".json")))
	require.NoError(t, fa.put(j, &one, 1))
	refused("was made by another run", a, b)

	_, err = OpenShards(merged(t, b), testRun(g), testLease)
	require.ErrorContains(t, err, "without --shard")
	require.NoError(t, os.MkdirAll(filepath.Join(out, "mine"), 0o755))
	_, err = Merge(t.Context(), []string{b}, out, nil)
	require.ErrorContains(t, err, "is there already")
}

// With this in the environment the test binary is a process of a cluster: a folder, a line's end and
// its part.
const asShard = "CMI_EXPERIMENT_SHARD"

// TestShardProcess is a process of TestKilledShards.
func TestShardProcess(t *testing.T) {
	if os.Getenv(asShard) == "" {
		return
	}
	var p Part
	dir, part, _ := strings.Cut(os.Getenv(asShard), "\n")
	_, err := fmt.Sscanf(part, "%d/%d", &p.I, &p.N)
	require.NoError(t, err)
	r := longRunner(t)
	r.Checkpoint = 1 + rand.IntN(3)
	r.OnEvent = func(e Event) { fmt.Println(e.Kind, e.Job, e.Step) }
	r.OnStep = func(j Job, _ sdk.Progress) { fmt.Println("step") }
	require.NoError(t, r.RunShard(t.Context(), shards(t, dir, long), p))
}

// long is a grid of 16 runs of 8 steps.
var long = Grid{Tasks: []string{"box", "sr4"}, Methods: []string{"dps", "adamdps"}, CMI: []Term{Without, With}, Names: []string{"a", "b"}, Samples: 1}

func longRunner(t testing.TB) *Runner {
	r := runner(t)
	r.Spec.Steps = 8
	return r
}

// Processes that overlap are killed with signal 9 after random steps, from the middle of
// pictures and of writes, and started again: the merge is what one machine makes.
func TestKilledShards(t *testing.T) {
	whole := t.TempDir()
	require.NoError(t, longRunner(t).RunShard(t.Context(), shards(t, whole, long), Part{1, 1}))
	want := tree(t, merged(t, whole))
	for _, partition := range [][]string{{"a 1/1"}, {"a 1/2", "a 2/2", "a 1/1"}, {"a 1/3", "b 2/3", "a 3/3", "b 1/2"}} {
		root := t.TempDir()
		var lock sync.Mutex
		resumed, kills := 0, 0
		var all sync.WaitGroup
		for _, shard := range partition {
			dir, part, _ := strings.Cut(shard, " ")
			all.Go(func() {
				for life := 0; ; life++ {
					c := exec.Command(os.Args[0], "-test.run=^TestShardProcess$")
					c.Env = append(os.Environ(), asShard+"="+filepath.Join(root, dir)+"\n"+part)
					out, err := c.StdoutPipe()
					if !assert.NoError(t, err) || !assert.NoError(t, c.Start()) {
						return
					}
					fatal := 1 + rand.IntN(12) // lines of events and steps until the kill
					if life == 6 {
						fatal = 1 << 30
					}
					lines := bufio.NewScanner(out)
					var last string
					for n := 0; lines.Scan(); n++ {
						last = lines.Text()
						lock.Lock()
						if strings.HasPrefix(last, "resume") {
							resumed++
						}
						lock.Unlock()
						if n == fatal {
							time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond)
							_ = c.Process.Kill()
						}
					}
					err = c.Wait()
					if err == nil {
						return
					}
					var exit *exec.ExitError
					if !assert.True(t, errors.As(err, &exit) && exit.ExitCode() == -1, "%s: %v: %s", shard, err, last) {
						return
					}
					lock.Lock()
					kills++
					lock.Unlock()
				}
			})
		}
		all.Wait()
		dirs, err := filepath.Glob(filepath.Join(root, "*"))
		require.NoError(t, err)
		same(t, want, tree(t, merged(t, dirs...)))
		t.Logf("%v: %d kills, %d jobs went on from a state", partition, kills, resumed)
		assert.Positive(t, kills)
		assert.Positive(t, resumed)
	}
}

// What fails on a picture fails the shard, with the job's name, and leaves the job to others.
func TestShardFails(t *testing.T) {
	r, dir := runner(t), t.TempDir()
	broken, truth := errors.New("broken"), r.Truth
	r.Truth = func(int) (picture.Image, error) { return picture.Image{}, broken }
	err := r.RunShard(t.Context(), shards(t, dir, small), Part{1, 1})
	require.ErrorIs(t, err, broken)
	assert.ErrorContains(t, err, small.Job(0).String())
	r.Truth = truth
	f := shards(t, dir, small)
	f.lease = time.Hour // which nothing waits for
	require.NoError(t, r.RunShard(t.Context(), f, Part{1, 1}))
}
