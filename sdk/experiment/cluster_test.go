package experiment

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The simulation of a cluster: docs/cluster.md has the figures of
//
//	go test ./sdk/experiment -run TestCluster -v -timeout 1h -cluster.pictures 2500 -cluster.processes 200 -cluster.kills 2000
var (
	clusterPictures  = flag.Int("cluster.pictures", 25, "pictures of TestCluster, of 40 results each")
	clusterProcesses = flag.Int("cluster.processes", 8, "processes of TestCluster")
	clusterKills     = flag.Int("cluster.kills", 30, "processes that TestCluster kills with signal 9")
	clusterLease     = flag.Duration("cluster.lease", time.Second, "lease of TestCluster")
	tablesPictures   = flag.Int("tables.pictures", 50, "pictures of TestMemoryOfTables, of 40 results each")
)

// asFake in the environment makes the test binary a process of the simulation: folder, pictures, part and lease.
const asFake = "CMI_EXPERIMENT_FAKE"

func init() {
	text := os.Getenv(asFake)
	if text == "" {
		return
	}
	var n int
	var p Part
	var lease time.Duration
	fields := strings.Split(text, "\n")
	_, err := fmt.Sscan(fields[1], &n, &p.I, &p.N)
	if err == nil {
		lease, err = time.ParseDuration(fields[2])
	}
	var f *ShardFolder
	if err == nil {
		f, err = OpenShards(fields[0], testRun(fakeGrid(n)), lease)
	}
	if err == nil {
		err = f.do(context.Background(), p, 1, 1, func(_ context.Context, _ int, jobs []Job) error { return f.fake(jobs[0], fields[3]) })
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func fakeGrid(pictures int) Grid {
	g := Grid{Tasks: Tasks, Methods: Methods, CMI: []Term{Without, With}, Samples: 1}
	for i := range pictures {
		g.Names = append(g.Names, fmt.Sprintf("%06d", i))
	}
	return g
}

// fakeResult returns one that its job alone decides.
func fakeResult(j Job) *Result {
	random := rand.New(rand.NewPCG(uint64(j.Image), uint64(len(j.Arm()))))
	psnr := 20 + random.Float64()
	r := &Result{Cell: j.Cell, Image: j.Name, Sample: j.Sample, PSNR: &psnr, SSIM: random.Float64(), LPIPS: random.Float64(), LPIPSName: "fake", MSE: random.Float64(), Passes: 100}
	for range 20 {
		r.Residual = append(r.Residual, random.Float64())
		if j.CMI != Without {
			r.Information = append(r.Information, random.Float64())
		}
	}
	return r
}

// fake puts a result that its job alone decides, without a network, and notes who computed it.
func (f *ShardFolder) fake(j Job, computed string) error {
	log, err := os.OpenFile(computed, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	_, err = log.WriteString(j.String() + "\n")
	if err := log.Close(); err != nil {
		return err
	}
	pictures := []string{f.truth(j), f.measurement(j), f.restored(j)}
	contents := []string{"truth " + j.Name, "measurement " + j.Task + " " + j.Name, j.String()}
	for i, path := range pictures {
		if err == nil {
			err = replace(path, []byte(contents[i]))
		}
	}
	if err != nil {
		return err
	}
	r := fakeResult(j)
	for i, to := range []*string{&r.Truth, &r.Measurement, &r.Picture} {
		if *to, err = HashFile(pictures[i]); err != nil {
			return err
		}
	}
	return f.put(j, r, 0.01)
}

// Many processes whose parts overlap, and which are killed at random, finish every job; the merge has each once, in
// order, with what its job decides, and takes little memory.
func TestCluster(t *testing.T) {
	dir, computed := filepath.Join(t.TempDir(), "shards"), filepath.Join(t.TempDir(), "computed")
	g := fakeGrid(*clusterPictures)
	start := time.Now()
	var kills, all atomic.Int64
	all.Store(int64(*clusterKills))
	var processes sync.WaitGroup
	for i := range *clusterProcesses {
		// Half as many parts as processes: every job is two processes' to do.
		part := fmt.Sprintf("%d %d %d", *clusterPictures, i%max(1, *clusterProcesses/2)+1, max(1, *clusterProcesses/2))
		processes.Go(func() {
			for {
				c := exec.Command(os.Args[0])
				c.Env = append(os.Environ(), "GOMAXPROCS=1", "GOGC=50", asFake+"="+strings.Join([]string{dir, part, clusterLease.String(), computed}, "\n"))
				var said strings.Builder
				c.Stdout = &said
				if !assert.NoError(t, c.Start()) {
					return
				}
				if all.Add(-1) >= 0 {
					time.AfterFunc(time.Duration(rand.Int64N(int64(10**clusterLease))), func() { _ = c.Process.Kill() })
				}
				if c.Wait() == nil {
					return
				}
				if !assert.Equal(t, -1, c.ProcessState.ExitCode(), &said) { // killed
					return
				}
				kills.Add(1)
			}
		})
	}
	processes.Wait()
	t.Logf("%d results by %d processes, %d killed, lease %v: %v", g.Len(), *clusterProcesses, kills.Load(), *clusterLease, time.Since(start).Round(time.Second))
	if *clusterKills > 0 {
		assert.Positive(t, kills.Load())
	}

	begun := map[string]int{}
	text, err := os.ReadFile(computed)
	require.NoError(t, err)
	lines := 0
	for line := range strings.Lines(string(text)) {
		begun[line]++
		lines++
	}
	assert.Len(t, begun, g.Len())
	t.Logf("%d jobs were begun again", lines-g.Len())
	files, most, claims, temporary := 0, 0, 0, 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			names, err := os.ReadDir(path)
			most = max(most, len(names))
			return err
		}
		files++
		if strings.Contains(path, ".claim.") {
			claims++
		}
		if strings.HasSuffix(path, ".tmp") {
			temporary++
		}
		return nil
	}))
	t.Logf("%d files, at most %d in a folder; killed processes left %d claims of finished jobs and %d unfinished files", files, most, claims, temporary)

	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	peak := before.HeapAlloc
	start = time.Now()
	out := filepath.Join(t.TempDir(), "merged")
	merged, err := Merge(t.Context(), []string{dir}, out, func(done, _ int) {
		if done%1000 == 0 {
			runtime.ReadMemStats(&now)
			peak = max(peak, now.HeapAlloc)
		}
	})
	require.NoError(t, err)
	t.Logf("merge: %v, heap at most %d KiB above the %d KiB before it", time.Since(start).Round(time.Millisecond), (peak-before.HeapAlloc)/1024, before.HeapAlloc/1024)
	assert.Less(t, peak-before.HeapAlloc, uint64(64<<20))
	k := 0
	require.NoError(t, merged.read(func(r *Result, _ int64) error {
		j := g.Job(k)
		k++
		if !r.is(j) {
			return fmt.Errorf("%v stands in the place of %v", r.job(), j)
		}
		picture, err := os.ReadFile(filepath.Join(out, j.picturePath()))
		if string(picture) != j.String() {
			return fmt.Errorf("%v has another picture: %w", j, err)
		}
		return r.verify()
	}))
	assert.Equal(t, g.Len(), k)
	info, err := os.Stat(filepath.Join(out, "results.jsonl"))
	require.NoError(t, err)
	t.Logf("results.jsonl: %d bytes, %d a result", info.Size(), info.Size()/int64(g.Len()))
}

// The tables of a merged folder take memory for the names of its pictures and for mostValues values of a measure in each cell.
func TestMemoryOfTables(t *testing.T) {
	g, dir := fakeGrid(*tablesPictures), t.TempDir()
	results, err := newLines(filepath.Join(dir, "results.jsonl"))
	require.NoError(t, err)
	for k := range g.Len() {
		r := fakeResult(g.Job(k))
		r.Check = r.check()
		line, err := json.Marshal(r)
		require.NoError(t, err)
		require.NoError(t, results.add(line))
	}
	require.NoError(t, results.close())
	f := &Folder{dir: dir, grid: g, done: g.Len()} // as Merge returns one; there are no pictures

	var now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&now)
	before := now.HeapAlloc
	start := time.Now()
	cells, pictures, _, err := f.gather()
	require.NoError(t, err)
	read := time.Since(start)
	runtime.GC()
	runtime.ReadMemStats(&now)
	bound := uint64(len(cells) * min(pictures, mostValues) * 5 * 8 * 2) // slices grow by less than twice what they hold
	t.Logf("%d results of %d pictures: %v to read, %d KiB kept, of at most %d", g.Len(), pictures, read.Round(time.Millisecond), (now.HeapAlloc-before)/1024, (bound+1<<20)/1024)
	assert.Less(t, now.HeapAlloc-before, bound+1<<20)
	runtime.KeepAlive(cells)
}
