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
	t      *testing.T
	dir    string
	env    []string
	binary string               // cmi-native
	nodes  map[string]*exec.Cmd // their daemons
	logs   string               // of the shards
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
SlurmdTimeout=20
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname=%[1]s NodeAddr=127.0.0.1 Port=%[4]d CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname=%[1]s NodeAddr=127.0.0.1 Port=%[5]d CPUs=1 State=UNKNOWN
PartitionName=low Nodes=n1,n2 Default=YES PriorityTier=1 GraceTime=15 MaxTime=60 State=UP
PartitionName=high Nodes=n1,n2 PriorityTier=10 PreemptMode=off MaxTime=60 State=UP
`

// start builds the program and starts the daemons; they end with the test.
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
	c := &cluster{t: t, dir: dir, env: append(os.Environ(), "SLURM_CONF="+dir+"/slurm.conf"), binary: filepath.Join(dir, "cmi-native"), nodes: map[string]*exec.Cmd{}}
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"slurmctld.log", "slurmd-n1.log", "slurmd-n2.log"} {
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
	var taken []net.Listener
	for range 3 { // free now
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		taken = append(taken, l)
	}
	for _, l := range taken {
		require.NoError(t, l.Close())
	}
	for name, text := range map[string]string{"slurm.conf": fmt.Sprintf(configuration, append([]any{host, dir}, ports...)...), "cgroup.conf": "CgroupPlugin=cgroup/v1\n", "munge.key": strings.Repeat("0123456789abcdef", 8)} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for _, name := range []string{"state", "spool-n1", "spool-n2"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	build := exec.Command("go", "build", "-tags", "nocuda", "-o", c.binary, "github.com/cmi-diffusion/cmi/cmd/native")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)

	c.daemon("munged", "--foreground", "--force", "--socket="+dir+"/munge.socket", "--key-file="+dir+"/munge.key",
		"--pid-file="+dir+"/munge.pid", "--log-file="+dir+"/munge.log", "--seed-file="+dir+"/munge.seed")
	c.until("munge", func() bool { _, err := os.Stat(dir + "/munge.socket"); return err == nil })
	c.daemon("slurmctld", "-D")
	for _, node := range []string{"n1", "n2"} {
		c.nodes[node] = c.daemon("slurmd", "-D", "-N", node)
	}
	c.until("idle nodes", func() bool {
		out, _ := c.do("sinfo", "-h", "-p", "low", "-o", "%T %D")
		return out == "idle 2"
	})
	return c
}

// run makes an experiment by one process, and submits it as an array job of so many shards; it returns the folder of
// the one and where the other is merged into.
func (c *cluster) run(shards int, experiment ...string) (one, table string) {
	c.t.Helper()
	one, table = filepath.Join(c.dir, "one"), filepath.Join(c.dir, "table")
	out, err := exec.Command(c.binary, append([]string{"eval", "--quiet", "--out", one}, experiment...)...).CombinedOutput()
	require.NoError(c.t, err, "%s", out)
	work := filepath.Join(c.dir, "shards")
	c.logs = filepath.Join(work, "logs")
	submit := exec.Command("bash", append([]string{"submit.sh"}, append(experiment, "--checkpoint", "2", "--lease", "2s")...)...)
	submit.Env = append(c.env, "CMI_NATIVE="+c.binary, fmt.Sprintf("SHARDS=%d", shards), "WORK="+work, "TABLE="+table, "TASK=--time=5", "MERGE=--time=5", "OMP_NUM_THREADS=1")
	out, err = submit.CombinedOutput()
	require.NoError(c.t, err, "%s", out)
	c.t.Logf("%s", out)
	return one, table
}

// count says how often a part has said something.
func (c *cluster) count(part, what string) int {
	text, _ := os.ReadFile(filepath.Join(c.logs, "shard-"+part+".log"))
	return strings.Count(string(text), what)
}

// What a part says when it saves its state and ends, and when it goes on from there.
const (
	stopped = "stopped; finished results are kept"
	resumed = `"resume"`
)

// hurt waits for a part that is in the middle of a picture, and does something to it.
func (c *cluster) hurt(what string, do func(part, id string) bool) string {
	c.t.Helper()
	var part string
	c.until("task to be "+what, func() bool {
		for p, id := range c.running() {
			if c.pid(p) > 0 && c.count(p, `"checkpoint"`) > c.count(p, `"finish"`) && do(p, id) {
				part = p
				return true
			}
		}
		return false
	})
	c.t.Logf("part %s is %s", part, what)
	return part
}

// merged waits for the result.
func (c *cluster) merged(table string) {
	c.t.Helper()
	c.until("merged table", func() bool {
		for _, line := range c.queue() {
			require.NotContains(c.t, line, "DependencyNeverSatisfied")
		}
		_, err := os.Stat(filepath.Join(table, "report.html"))
		return err == nil && len(c.queue()) == 0
	})
}

// daemon starts one in the foreground, to be ended with the test.
func (c *cluster) daemon(name string, args ...string) *exec.Cmd {
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
	return d
}

// die ends a node as a loss of power does: its daemon, what watches over its tasks, and the tasks.
func (c *cluster) die(node string) {
	c.t.Helper()
	require.NoError(c.t, c.nodes[node].Process.Kill())
	environments, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, path := range environments {
		env, _ := os.ReadFile(path)
		if !bytes.Contains(env, []byte("SLURMD_NODENAME="+node+"\x00")) || !bytes.Contains(env, []byte("SLURM_CONF="+c.dir)) {
			continue
		}
		n, _ := strconv.Atoi(strings.Split(path, "/")[2])
		if watcher := parent(n); bytes.HasPrefix(command(watcher), []byte("slurmstepd")) {
			_ = syscall.Kill(watcher, syscall.SIGKILL)
		}
		_ = syscall.Kill(n, syscall.SIGKILL)
	}
}

func command(pid int) []byte {
	line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return line
}

func parent(pid int) int {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	if f := strings.Fields(after); len(f) > 1 {
		n, _ := strconv.Atoi(f[1])
		return n
	}
	return 0
}

// do runs a command of Slurm and returns what it prints.
func (c *cluster) do(name string, args ...string) (string, error) {
	command := exec.Command(name, args...)
	command.Env = c.env
	out, err := command.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// until waits for something, and lets tasks that were queued again start soon: Slurm has them wait two minutes, in which
// the end of their last life is told.
func (c *cluster) until(what string, met func() bool) {
	c.t.Helper()
	waiting := map[string]time.Time{}
	for deadline := time.Now().Add(5 * time.Minute); !met(); time.Sleep(100 * time.Millisecond) {
		require.True(c.t, time.Now().Before(deadline), "no %s: %v", what, c.queue())
		for _, line := range c.queue() {
			f := strings.Fields(line)
			if len(f) <= 2 || f[2] != "(BeginTime)" {
				continue
			}
			if since, ok := waiting[f[0]]; !ok {
				waiting[f[0]] = time.Now()
			} else if time.Since(since) > 4*time.Second {
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
func (c *cluster) pid(part string) int {
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range processes {
		line, _ := os.ReadFile(path)
		if args := strings.Split(string(line), "\x00"); len(args) > 3 && args[0] == c.binary && strings.HasPrefix(args[3], part+"/") {
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
	one, table := c.run(4, "--limit", "1", "--steps", "80", "--tasks", "sr4,box", "--methods", "dps,pigdm")

	before := map[string]int{}
	c.hurt("in the way of a job of higher priority that wants both nodes", func(_, _ string) bool { return true })
	for _, p := range []string{"1", "2", "3", "4"} {
		before[p] = c.count(p, stopped)
	}
	out, err := c.do("sbatch", "--parsable", "-p", "high", "--nodes=2", "--time=1", "--output=/dev/null", "--wrap=sleep 1")
	require.NoError(t, err, out)
	preempted := ""
	c.until("preempted task that saved its state", func() bool {
		for p, n := range before {
			if c.count(p, stopped) > n {
				preempted = p
			}
		}
		return preempted != ""
	})
	t.Logf("part %s is preempted", preempted)

	killed := c.hurt("killed", func(part, _ string) bool { return syscall.Kill(c.pid(part), syscall.SIGKILL) == nil })
	c.until("restart of the killed task", func() bool { return c.count(killed, resumed) > 0 })

	again := c.hurt("queued again", func(_, id string) bool { _, err := c.do("scontrol", "requeue", id); return err == nil })
	c.until("second life of it", func() bool { return c.count(again, resumed) > 0 })
	out, err = c.do("scontrol", "update", "NodeName=n2", "State=DRAIN", "Reason=test")
	require.NoError(t, err, out)

	c.merged(table)
	same(t, one, table)
}

// A task that comes near its time limit saves its state and is queued again; one whose node dies goes on from its last
// checkpoint when the controller has noticed. The table is what one process makes.
func TestTimeLimitAndDeadNode(t *testing.T) {
	c := start(t)
	one, table := c.run(2, "--limit", "1", "--steps", "300", "--tasks", "sr4,box", "--methods", "dps,pigdm", "--cmi", "off")

	dead := ""
	lost := c.hurt("lost with its node", func(_, id string) bool {
		node, _ := c.do("squeue", "-h", "-j", id, "-o", "%N")
		if c.nodes[node] == nil {
			return false
		}
		c.die(node)
		dead = node
		return true
	})
	lives := c.count(lost, resumed)
	// Slurm looks at time limits every half minute: until then the program stands still most of the time.
	saved, program := 0, 0
	late := c.hurt("near its time limit", func(part, id string) bool {
		if part == lost {
			return false
		}
		if program = c.pid(part); syscall.Kill(program, syscall.SIGSTOP) != nil {
			return false
		}
		saved = c.count(part, stopped)
		out, err := c.do("scontrol", "update", "JobId="+id, "TimeLimit=1") // submit.sh has the signal come two minutes before
		require.NoError(t, err, out)
		return true
	})
	c.until("task that saved its state before its time limit", func() bool {
		_ = syscall.Kill(program, syscall.SIGCONT)
		time.Sleep(20 * time.Millisecond)
		if c.count(late, stopped) > saved {
			return true
		}
		_ = syscall.Kill(program, syscall.SIGSTOP)
		return false
	})
	c.until("node that is known to be down", func() bool {
		out, _ := c.do("scontrol", "show", "node", dead)
		return strings.Contains(out, "State=DOWN")
	})
	c.nodes[dead] = c.daemon("slurmd", "-D", "-N", dead)
	for _, line := range c.queue() {
		_, _ = c.do("scontrol", "update", "JobId="+strings.Fields(line)[0], "TimeLimit=5")
	}
	c.until("second life of the lost task", func() bool { return c.count(lost, resumed) > lives })
	c.merged(table)
	same(t, one, table)
	assert.Positive(t, c.count(late, resumed))
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
	assert.GreaterOrEqual(t, n, 20)
}
