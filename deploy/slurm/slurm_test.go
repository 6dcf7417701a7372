// Package slurm tests the job scripts beside it on a real Slurm, started for the test on this machine.
package slurm

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cluster is a controller and two nodes of one processor each on this machine.
type cluster struct {
	t   *testing.T
	dir string
	env []string
}

const configuration = `ClusterName=test
SlurmctldHost=%[1]s(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=%[2]s/munge.socket
CredType=cred/munge
SlurmctldPort=%[3]d
StateSaveLocation=%[2]s/state
SlurmdSpoolDir=%[2]s/spool-%%n
SlurmctldPidFile=%[2]s/slurmctld.pid
SlurmdPidFile=%[2]s/slurmd-%%n.pid
SlurmctldLogFile=%[2]s/slurmctld.log
SlurmdLogFile=%[2]s/slurmd-%%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=bf_interval=1,sched_interval=1
JobRequeue=1
KillWait=20
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname=%[1]s NodeAddr=127.0.0.1 Port=%[4]d CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname=%[1]s NodeAddr=127.0.0.1 Port=%[5]d CPUs=1 State=UNKNOWN
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=15 MaxTime=60 State=UP
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=off MaxTime=60 State=UP
`

// start starts the daemons; they end with the test.
func start(t *testing.T) *cluster {
	t.Helper()
	for _, command := range []string{"munged", "slurmctld", "slurmd", "sbatch"} {
		if _, err := exec.LookPath(command); err != nil {
			t.Skipf("no %s (apt-get install slurmctld slurmd slurm-client munge)", command)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("Slurm's daemons want root")
	}
	dir, err := os.MkdirTemp("", "slurm")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(dir, 0o755))
	c := &cluster{t: t, dir: dir, env: append(os.Environ(), "SLURM_CONF="+dir+"/slurm.conf")}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"slurmctld.log", "slurmd-n1.log"} {
				log, _ := os.ReadFile(filepath.Join(dir, name))
				t.Logf("%s:\n%s", name, log[max(0, len(log)-3000):])
			}
		}
		os.RemoveAll(dir)
	})
	host, err := os.Hostname()
	require.NoError(t, err)
	host, _, _ = strings.Cut(host, ".")
	var ports []any
	for range 3 { // free now
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		defer l.Close()
	}
	for name, text := range map[string]string{"slurm.conf": fmt.Sprintf(configuration, append([]any{host, dir}, ports...)...), "cgroup.conf": "CgroupPlugin=cgroup/v1\n", "munge.key": strings.Repeat("0123456789abcdef", 8)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for _, name := range []string{"state", "spool-n1", "spool-n2"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	return c
}

// daemon starts one in the foreground, to be ended with the test.
func (c *cluster) daemon(name string, args ...string) {
	path, err := exec.LookPath(name)
	require.NoError(c.t, err)
	d := exec.Command(path, args...)
	d.Env = c.env
	var said bytes.Buffer
	d.Stdout, d.Stderr = &said, &said
	require.NoError(c.t, d.Start())
	c.t.Cleanup(func() {
		_ = d.Process.Signal(syscall.SIGTERM)
		stopped := time.AfterFunc(10*time.Second, func() { _ = d.Process.Kill() })
		_ = d.Wait()
		stopped.Stop()
		if c.t.Failed() {
			c.t.Logf("%s %v: %s", name, args, &said)
		}
	})
}

// do runs a command of Slurm and returns what it prints.
func (c *cluster) do(name string, args ...string) (string, error) {
	command := exec.Command(name, args...)
	command.Env = c.env
	out, err := command.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// until waits for something, and lets tasks that were queued again start at once: Slurm has them wait two minutes.
func (c *cluster) until(what string, met func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !met(); time.Sleep(100 * time.Millisecond) {
		require.True(c.t, time.Now().Before(deadline), "no %s: %v", what, c.queue())
		for _, line := range c.queue() {
			if f := strings.Fields(line); len(f) > 2 && f[2] == "(BeginTime)" {
				_, _ = c.do("scontrol", "update", "JobId="+f[0], "StartTime=now") // again, if it has not worked
			}
		}
	}
}

// queue lists jobs: ID, state, reason or node, name.
func (c *cluster) queue() []string {
	out, err := c.do("squeue", "-h", "-r", "-o", "%A %T %R %j %K")
	if err != nil || out == "" {
		return nil
	}
	return strings.Split(out, "\n")
}

// running returns the IDs of shards that run, by the number of the part.
func (c *cluster) running() map[string]string {
	ids := map[string]string{}
	for _, line := range c.queue() {
		if f := strings.Fields(line); len(f) == 5 && f[1] == "RUNNING" && f[3] == "cmi-shard" {
			ids[f[4]] = f[0]
		}
	}
	return ids
}

// pid finds the program of a part.
func pid(binary, part string) int {
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range processes {
		line, _ := os.ReadFile(path)
		if args := strings.Split(string(line), "\x00"); len(args) > 3 && args[0] == binary && args[3] == part {
			n, _ := strconv.Atoi(strings.Split(path, "/")[2])
			return n
		}
	}
	return 0
}

// An array job whose tasks are killed, preempted, queued again and drained from under makes, merged by the job that
// depends on it, what one process makes.
func TestArrayJob(t *testing.T) {
	c := start(t)
	binary := filepath.Join(c.dir, "cmi-native")
	build := exec.Command("go", "build", "-tags", "nocuda", "-o", binary, "github.com/cmi-diffusion/cmi/cmd/native")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	experiment := []string{"--limit", "1", "--steps", "80", "--tasks", "sr4,box", "--methods", "dps,pigdm", "--checkpoint", "2"}
	one := filepath.Join(c.dir, "one")
	out, err = exec.Command(binary, append([]string{"eval", "--quiet", "--out", one}, experiment[:len(experiment)-2]...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)

	c.daemon("munged", "--foreground", "--force", "--socket="+c.dir+"/munge.socket", "--key-file="+c.dir+"/munge.key",
		"--pid-file="+c.dir+"/munge.pid", "--log-file="+c.dir+"/munge.log", "--seed-file="+c.dir+"/munge.seed")
	c.until("munge", func() bool { _, err := os.Stat(c.dir + "/munge.socket"); return err == nil })
	c.daemon("slurmctld", "-D")
	c.daemon("slurmd", "-D", "-N", "n1")
	c.daemon("slurmd", "-D", "-N", "n2")
	c.until("idle nodes", func() bool {
		out, _ := c.do("sinfo", "-h", "-p", "low", "-o", "%T %D")
		return out == "idle 2"
	})

	work, table := filepath.Join(c.dir, "shards"), filepath.Join(c.dir, "table")
	submit := exec.Command("bash", append([]string{"submit.sh"}, append(experiment, "--lease", "2s")...)...)
	submit.Env = append(c.env, "CMI_NATIVE="+binary, "SHARDS=4", "WORK="+work, "TABLE="+table, "TASK=--time=5", "MERGE=--time=5", "OMP_NUM_THREADS=1")
	out, err = submit.CombinedOutput()
	require.NoError(t, err, "%s", out)
	t.Logf("%s", out)
	log := func(part string) string {
		text, _ := os.ReadFile(filepath.Join(work, "logs", "shard-"+part+".log"))
		return string(text)
	}
	// hurt waits for a part that is in the middle of a picture, and does something to it.
	hurt := func(what string, do func(part, id string) bool) string {
		t.Helper()
		var part string
		c.until("task to be "+what, func() bool {
			for p, id := range c.running() {
				if pid(binary, p+"/4") > 0 && strings.Count(log(p), `"checkpoint"`) > strings.Count(log(p), `"finish"`) && do(p, id) {
					part = p
					return true
				}
			}
			return false
		})
		t.Logf("part %s is %s", part, what)
		return part
	}

	before := map[string]int{}
	hurt("in the way of a job of higher priority that wants both nodes", func(_, _ string) bool { return true })
	for _, p := range []string{"1", "2", "3", "4"} {
		before[p] = strings.Count(log(p), "stopped; finished results are kept")
	}
	out2, err := c.do("sbatch", "--parsable", "-p", "high", "--nodes=2", "--time=1", "--output=/dev/null", "--wrap=sleep 1")
	require.NoError(t, err, out2)
	preempted := ""
	c.until("preempted task that saved its state", func() bool {
		for p, n := range before {
			if strings.Count(log(p), "stopped; finished results are kept") > n {
				preempted = p
			}
		}
		return preempted != ""
	})
	t.Logf("part %s is preempted", preempted)

	killed := hurt("killed", func(part, _ string) bool { return syscall.Kill(pid(binary, part+"/4"), syscall.SIGKILL) == nil })
	c.until("restart of the killed task", func() bool { return strings.Contains(log(killed), `"resume"`) })

	again := hurt("queued again", func(_, id string) bool { _, err := c.do("scontrol", "requeue", id); return err == nil })
	c.until("second life of it", func() bool { return strings.Contains(log(again), `"resume"`) })
	out2, err = c.do("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=test")
	require.NoError(t, err, out2)

	c.until("merged table", func() bool {
		for _, line := range c.queue() {
			require.NotContains(t, line, "DependencyNeverSatisfied")
		}
		_, err := os.Stat(filepath.Join(table, "report.html"))
		return err == nil && len(c.queue()) == 0
	})
	same(t, one, table)
}

// same compares all files but those of times, of how each process was started, and locks.
func same(t *testing.T, want, got string) {
	t.Helper()
	n := 0
	require.NoError(t, filepath.WalkDir(want, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "timings.jsonl" || d.Name() == ".lock" {
			return err
		}
		name, _ := filepath.Rel(want, path)
		a, err := os.ReadFile(path)
		require.NoError(t, err)
		b, err := os.ReadFile(filepath.Join(got, name))
		require.NoError(t, err)
		assert.True(t, bytes.Equal(a, b), "%s differs", name)
		n++
		return nil
	}))
	assert.Greater(t, n, 20)
}
