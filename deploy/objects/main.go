// Command cmi-objects keeps the shards of an experiment in object storage, for clusters without a common file system. It is a
// program and a module of its own, because the clients of S3 and GCS bring seventy modules.
//
//	cmi-objects run s3://BUCKET/PREFIX -- cmi-native eval --shard 3/8 --out DIR …
//	cmi-objects pull s3://BUCKET/PREFIX DIR
//
// run starts a shard in a folder of its node, DIR. It first fetches what of the shard's part is finished, and the states of
// what is not; while the shard works it uploads results, pictures and states, the last ones after it has ended or was told to
// stop. pull fetches all finished results and their pictures, for cmi-native merge.
//
// One process at a time should do a part: there are no claims. Two that do the same part get the same bytes, and nothing is lost.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/fileblob"

	"github.com/cmi-diffusion/cmi/sdk/experiment"
)

const usage = `cmi-objects keeps the shards of an experiment in object storage.

  cmi-objects run [--every 5s] URL -- cmi-native eval --shard I/N --out DIR …
  cmi-objects pull URL DIR

URL is s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or file:///FOLDER, with the options of gocloud.dev/blob behind a ?, such as
s3://BUCKET/PREFIX?region=eu-central-1, or ?endpoint=http://localhost:9000&use_path_style=true for other servers of S3's protocol.
Credentials come from where the stores' own tools have them: AWS_ACCESS_KEY_ID, ~/.aws, instance roles; GOOGLE_APPLICATION_CREDENTIALS.

run ends with the exit code of the shard, 1 where its results could not be uploaded, and 2 for wrong arguments or a bucket
that holds another experiment. See docs/cluster.md.
`

func main() {
	runtime.LockOSThread() // a child that is to end with its parent ends with the thread that started it
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	os.Exit(command(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// wrong marks what can't succeed by being tried again.
type wrong struct{ error }

func (w wrong) Unwrap() error { return w.error }

func command(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	code, err := dispatch(ctx, args, stdout, stderr)
	if err == nil {
		return code
	}
	fmt.Fprintln(stderr, "cmi-objects: "+err.Error())
	switch {
	case errors.As(err, &wrong{}):
		return 2
	case errors.Is(err, context.Canceled):
		return 130
	}
	return max(code, 1)
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) (int, error) {
	every := 5 * time.Second
	if len(args) > 2 && args[0] == "run" && args[1] == "--every" {
		var err error
		if every, err = time.ParseDuration(args[2]); err != nil || every < time.Millisecond {
			return 0, wrong{fmt.Errorf("--every is %q: a duration of 1ms and more is wanted, such as 5s", args[2])}
		}
		args = append([]string{"run"}, args[3:]...)
	}
	switch {
	case len(args) > 3 && args[0] == "run" && args[2] == "--":
		bucket, err := open(ctx, args[1])
		if err != nil {
			return 0, err
		}
		defer bucket.Close()
		return run(ctx, bucket, args[3:], every, stdout, stderr)
	case len(args) == 3 && args[0] == "pull":
		bucket, err := open(ctx, args[1])
		if err != nil {
			return 0, err
		}
		defer bucket.Close()
		n, err := pull(ctx, bucket, args[2])
		if err == nil {
			_, err = fmt.Fprintf(stdout, "%d files in %s; the tables: cmi-native merge %s --out TABLE\n", n, args[2], args[2])
		}
		return 0, err
	}
	fmt.Fprint(stderr, usage)
	return 0, wrong{errors.New("run URL -- COMMAND… or pull URL DIR is wanted")}
}

// open opens a bucket by its URL. What stands behind the bucket's name begins the objects' names.
func open(ctx context.Context, address string) (*blob.Bucket, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, wrong{err}
	}
	prefix := ""
	if u.Scheme == "s3" || u.Scheme == "gs" {
		if prefix = strings.Trim(u.Path, "/"); prefix != "" {
			prefix += "/"
		}
		u.Path = ""
	}
	bucket, err := blob.OpenBucket(ctx, u.String())
	if err != nil {
		return nil, wrong{fmt.Errorf("%s can't be opened: %w", address, err)}
	}
	if prefix != "" {
		bucket = blob.PrefixedBucket(bucket, prefix)
	}
	return bucket, nil
}

// flagOf returns the value of a flag in the arguments of cmi-native eval.
func flagOf(args []string, name string) string {
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--"+name+"="); ok {
			return value
		}
		if arg == "--"+name && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// run runs a shard and keeps its results in the bucket. It returns the shard's exit code.
func run(ctx context.Context, bucket *blob.Bucket, args []string, every time.Duration, stdout, stderr io.Writer) (int, error) {
	var part experiment.Part
	dir, shard := flagOf(args, "out"), flagOf(args, "shard")
	if n, _ := fmt.Sscanf(shard, "%d/%d", &part.I, &part.N); n != 2 || dir == "" {
		return 0, wrong{fmt.Errorf("%s: --shard I/N and --out DIR are wanted behind the --", strings.Join(args, " "))}
	}
	if part.I == 0 {
		part.I = part.N // as cmi-native has it
	}
	if err := part.Validate(); err != nil {
		return 0, wrong{err}
	}
	s, err := fetch(ctx, bucket, dir, part)
	if err != nil {
		return 0, err
	}
	child := exec.Command(args[0], args[1:]...)
	child.Stdout, child.Stderr = stdout, stderr
	endWithParent(child)
	if err := child.Start(); err != nil {
		return 0, wrong{err}
	}
	ended := make(chan error, 1)
	go func() { ended <- child.Wait() }()
	stopping := context.AfterFunc(ctx, func() { _ = child.Process.Signal(syscall.SIGTERM) }) // it saves its state, and ends
	defer stopping()
	whole := context.WithoutCancel(ctx) // what is finished is uploaded, though we are told to stop
	var refused error
	for living := true; living; {
		select {
		case err = <-ended:
			living = false
		case <-time.After(every):
			start := time.Now()
			if err := s.upload(whole); errors.As(err, &wrong{}) {
				refused = err
				_ = child.Process.Signal(syscall.SIGTERM)
			} else if err != nil {
				fmt.Fprintf(stderr, "cmi-objects: an upload failed and is tried again: %v\n", err)
			}
			every = max(every, 10*time.Since(start)) // large parts are looked through less often
		}
	}
	code := child.ProcessState.ExitCode()
	if code < 0 {
		code = 128 + int(child.ProcessState.Sys().(syscall.WaitStatus).Signal())
	}
	for pause := time.Second; ; pause *= 2 {
		err := s.upload(whole)
		if err == nil || refused != nil || errors.As(err, &wrong{}) {
			return code, errors.Join(refused, err)
		}
		if pause > 16*time.Second {
			return max(code, 1), fmt.Errorf("results of this part are not uploaded, and are still in %s: %w", dir, err)
		}
		fmt.Fprintf(stderr, "cmi-objects: the last upload failed and is tried again in %v: %v\n", pause, err)
		time.Sleep(pause)
	}
}
