package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gocloud.dev/blob"
	"gocloud.dev/blob/memblob"

	"github.com/cmi-diffusion/cmi/sdk/experiment"
)

// asCommand in the environment makes the test binary cmi-objects.
const asCommand = "CMI_OBJECTS_COMMAND"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	os.Exit(m.Run())
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var grid = experiment.Grid{Tasks: []string{"sr4", "box"}, Methods: []string{"dps"}, CMI: []experiment.Term{experiment.Without}, Names: []string{"a", "b", "c"}, Samples: 2}

// fill writes files of a shard: of the k-th job all but what is left out.
func fill(t *testing.T, dir string, k int, leftOut ...string) experiment.JobFiles {
	t.Helper()
	run, err := json.Marshal(experiment.Run{Grid: grid})
	check(t, err)
	check(t, os.MkdirAll(dir, 0o777))
	check(t, os.WriteFile(filepath.Join(dir, "run.json"), run, 0o666))
	files := slices.Collect(grid.Files(experiment.Part{I: 1, N: 1}))[k]
	for _, name := range []string{files.Truth, files.Measurement, files.Picture, files.Result, files.State} {
		if slices.Contains(leftOut, filepath.Ext(name)) {
			continue
		}
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		check(t, os.WriteFile(filepath.Join(dir, name), []byte(name+"\nby "+dir+"\n"), 0o666))
	}
	return files
}

func keys(t *testing.T, bucket *blob.Bucket) (out []string) {
	t.Helper()
	list := bucket.List(nil)
	for {
		o, err := list.Next(t.Context())
		if err == io.EOF {
			return out
		}
		check(t, err)
		out = append(out, o.Key)
	}
}

// NOTICE has the licences of the versions that go.mod has. Whether a module is missing TestNotice says, which wants all of them.
func TestVersionsInNotice(t *testing.T) {
	notice, err := os.ReadFile("NOTICE")
	check(t, err)
	modules, err := os.ReadFile("go.mod")
	check(t, err)
	named := regexp.MustCompile(`(?m)^(\S+/\S+) \((v\S+)\)[,:]$`).FindAllStringSubmatch(string(notice), -1)
	if len(named) < 20 {
		t.Fatalf("NOTICE names %d modules", len(named))
	}
	for _, m := range named {
		if !strings.Contains(string(modules), m[1]+" "+m[2]) {
			t.Errorf("NOTICE has %s %s, go.mod has not: make notices", m[1], m[2])
		}
	}
}

// A node's folder that is lost at any moment is made again from the bucket: results that were there, and the states of what was
// not finished. A result comes after its picture, a state goes with the result, claims and unfinished files stay where they are.
func TestUpload(t *testing.T) {
	bucket := memblob.OpenBucket(nil)
	defer bucket.Close()
	part := experiment.Part{I: 1, N: 1}
	dir := t.TempDir()
	s, err := fetch(t.Context(), bucket, dir, part)
	check(t, err)
	one := fill(t, dir, 0, ".json")            // in hand
	early := fill(t, dir, 2, ".png", ".state") // whose picture we have not seen
	for _, name := range []string{one.Result + ".claim.1", filepath.Join(filepath.Dir(one.Result), ".x.tmp")} {
		check(t, os.WriteFile(filepath.Join(dir, name), nil, 0o666))
	}
	check(t, s.upload(t.Context()))
	want := []string{"run.json", one.Picture, one.State, one.Measurement, one.Truth}
	slices.Sort(want)
	if got := keys(t, bucket); !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}

	// The node is lost.
	dir = t.TempDir()
	s, err = fetch(t.Context(), bucket, dir, part)
	check(t, err)
	if !s.has(one.State) || s.has(one.Result) || s.has(early.Result) {
		t.Error("the state is wanted, and no result")
	}
	fill(t, dir, 0)
	check(t, s.upload(t.Context()))
	check(t, s.upload(t.Context())) // nothing is new
	if got := keys(t, bucket); slices.Contains(got, one.State) || !slices.Contains(got, one.Result) {
		t.Errorf("%q", got)
	}
	dir = t.TempDir()
	s, err = fetch(t.Context(), bucket, dir, part)
	check(t, err)
	if !s.has(one.Result) || !s.has(one.Picture) || s.has(one.State) {
		t.Error("the result is wanted with its picture, for the second sample")
	}

	// Another process did the same: who made it may differ, the result may not.
	fill(t, dir, 1)
	other, err := fetch(t.Context(), bucket, t.TempDir(), part)
	check(t, err)
	fill(t, other.dir, 1)
	check(t, s.upload(t.Context()))
	check(t, other.upload(t.Context()))
	two := fill(t, other.dir, 3)
	check(t, s.bucket.WriteAll(t.Context(), two.Result, []byte("another\nby\n"), nil))
	if err := other.upload(t.Context()); !errors.As(err, &wrong{}) || !strings.Contains(err.Error(), two.Result) {
		t.Errorf("another result is taken: %v", err)
	}
	check(t, os.WriteFile(filepath.Join(dir, "run.json"), []byte("{}"), 0o666))
	if err := s.upload(t.Context()); !errors.As(err, &wrong{}) || !strings.Contains(err.Error(), "run.json") {
		t.Errorf("another experiment is taken: %v", err)
	}
	_, err = pull(t.Context(), memblob.OpenBucket(nil), t.TempDir())
	if !errors.As(err, &wrong{}) {
		t.Errorf("an empty bucket is pulled: %v", err)
	}
	check(t, bucket.Close())
	if err := other.upload(t.Context()); err == nil || errors.As(err, &wrong{}) {
		t.Errorf("an upload that fails says so, and is worth another try: %v", err)
	}
}

func TestArguments(t *testing.T) {
	folder := "file://" + t.TempDir()
	for want, args := range map[string][]string{
		"run URL -- COMMAND… or pull": {"push"},
		"can't be opened":             {"pull", "ftp://x/y", t.TempDir()},
		"--shard I/N and --out DIR":   {"run", folder, "--", "cmi-native", "eval", "--shard", "1/2"},
		"part 3 of 2":                 {"run", folder, "--", "cmi-native", "eval", "--shard=3/2", "--out=x"},
		"--every is":                  {"run", "--every", "soon", folder, "--", "x"},
		"no-such-program":             {"run", folder, "--", "no-such-program", "--shard=1/1", "--out=" + t.TempDir()},
	} {
		var said bytes.Buffer
		if code := command(t.Context(), args, io.Discard, &said); code != 2 || !strings.Contains(said.String(), want) {
			t.Errorf("%v: %d, %s", args, code, &said)
		}
	}
}

// Shards on nodes without a common file system, which are lost with their folders at random moments, make what one process
// makes.
func TestOneTable(t *testing.T) {
	oneTable(t, "file://"+t.TempDir()+"?no_tmp_dir=true")
}

func oneTable(t *testing.T, address string) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "cmi-native")
	build := exec.Command("go", "build", "-C", "../..", "-tags", "nocuda", "-o", binary, "./cmd/native")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	flags := []string{"--quiet", "--limit", "1", "--steps", "30", "--tasks", "sr4,box", "--methods", "dps,pigdm"}
	one := filepath.Join(dir, "one")
	if out, err := exec.Command(binary, append([]string{"eval", "--out", one}, flags...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	objects := func(args ...string) *exec.Cmd {
		c := exec.Command(os.Args[0], args...)
		c.Env = append(os.Environ(), asCommand+"=1")
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a node: what runs there ends together
		return c
	}
	resumed, lost, stopped := 0, 0, 0
	for part := 1; part <= 2; part++ {
		for life := 0; ; life++ {
			scratch := filepath.Join(dir, fmt.Sprintf("node-%d-%d", part, life))
			args := append([]string{"run", "--every", "50ms", address, "--", binary, "eval", "--log", "json", "--checkpoint", "2",
				"--shard", fmt.Sprintf("%d/2", part), "--out", scratch}, flags[1:]...)
			c := objects(args...)
			said, err := c.StderrPipe()
			check(t, err)
			check(t, c.Start())
			checkpoints, all := 0, ""
			fatal := 3 + rand.IntN(12)
			for lines := bufio.NewScanner(said); lines.Scan(); {
				all += lines.Text() + "\n"
				if strings.Contains(lines.Text(), `"resume"`) {
					resumed++
				}
				if strings.Contains(lines.Text(), `"checkpoint"`) {
					if checkpoints++; checkpoints == fatal && life < 3 {
						time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
						if life == 1 {
							_ = c.Process.Signal(syscall.SIGTERM) // the shard saves its state, which is uploaded
						} else {
							_ = syscall.Kill(-c.Process.Pid, syscall.SIGKILL)
						}
					}
				}
			}
			err = c.Wait()
			if c.ProcessState.ExitCode() == 130 {
				stopped++
			} else if c.ProcessState.ExitCode() == -1 {
				lost++
			} else if err != nil {
				t.Fatalf("%v: %s", err, all)
			}
			check(t, os.RemoveAll(scratch))
			if err == nil {
				break
			}
		}
	}
	t.Logf("%d nodes lost, %d told to stop, %d jobs went on from a state", lost, stopped, resumed)
	if lost == 0 || stopped == 0 || resumed == 0 {
		t.Error("nothing was lost, stopped or resumed")
	}
	shards, table := filepath.Join(dir, "shards"), filepath.Join(dir, "table")
	if out, err := objects("pull", address, shards).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command(binary, "merge", "--quiet", shards, "--out", table).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n := 0
	check(t, filepath.WalkDir(one, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "timings.jsonl" || d.Name() == "runs.jsonl" || d.Name() == ".lock" {
			return err
		}
		name, _ := filepath.Rel(one, path)
		a, err := os.ReadFile(path)
		check(t, err)
		b, err := os.ReadFile(filepath.Join(table, name))
		check(t, err)
		if n++; !bytes.Equal(a, b) {
			t.Errorf("%s differs", name)
		}
		return nil
	}))
	if n < 15 {
		t.Errorf("%d files were compared", n)
	}
}
