// Command cmi-native restores images by diffusion posterior sampling with
// guidance by conditional mutual information.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cmi-diffusion/cmi/sdk/compute"
)

// Exit codes.
const (
	exitFailed      = 1   // work was begun and did not succeed
	exitUsage       = 2   // bad input, found before any work
	exitInterrupted = 130 // Ctrl-C
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop)                                            // a second Ctrl-C ends the process
	signal.Notify(make(chan os.Signal, 1), syscall.SIGTERM, syscall.SIGHUP) // further ones, which schedulers send, do not
	if free := compute.HostMemory(); free > 0 && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(free / 5 * 6) // garbage must not take what a run was promised
	}
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	out, told := &output{to: stdout}, &messages{to: stderr}
	root := rootCommand()
	root.SetArgs(joinChoice(args))
	root.SetOut(out)
	root.SetErr(told)
	command, err := root.ExecuteContextC(ctx)
	if err == nil && out.err != nil {
		err = failed(fmt.Errorf("results can't be written to standard output: %w", out.err))
	}
	var begun failure
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(told, "cmi-native: stopped"+command.Annotations[whenStopped])
		return exitInterrupted
	}
	code := exitFailed
	if !errors.As(err, &begun) {
		code, err = exitUsage, located(err)
	}
	fmt.Fprintln(told, "cmi-native: "+oneLine(err))
	return code
}

// oneLine returns an error's text in a line of at most 4000 bytes: it may quote names of any
// length.
func oneLine(err error) string {
	text := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\t' }), "; ")
	if len(text) > 4000 {
		return strings.ToValidUTF8(text[:4000], "") + "…"
	}
	return text
}

// whenStopped is the annotation of a command that says what Ctrl-C leaves.
const whenStopped = "when stopped"

func onStop(what string) map[string]string { return map[string]string{whenStopped: "; " + what} }

// failure is an error after work was begun; all others are the user's input.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// failed marks an error, if there is one, as a failure of the work.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return failure{err}
}

// commit is set by make: Go stamps none into builds of a git worktree or of a folder of another owner.
var commit string

// version is the program's, from how it was built: a release's, else the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	text := info.Main.Version
	revision := commit
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && revision == "" {
			revision = s.Value[:min(12, len(s.Value))]
		}
	}
	if hash, _, _ := strings.Cut(revision, "-"); !strings.Contains(text, hash) {
		text += " " + revision
	}
	return fmt.Sprintf("%s, %s, %s/%s", text, info.GoVersion, runtime.GOOS, runtime.GOARCH)
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "cmi-native",
		Short: "Restore images by diffusion posterior sampling with mutual-information guidance",
		Long: `cmi-native restores images (super-resolution, inpainting, deblurring) by sampling from
p(image | measurement) with a pretrained diffusion model. At every step it can add the gradient of
the conditional mutual information I(x0; y | x_t) between the unknown image and the measurement
(arXiv 2501.02880), estimated with Jacobian-vector products and second-order derivatives of the
network.

A small model of faces, 64×64 pixels, is built in. Start with

  cmi-native demo                                   # a grid of restored faces, in ./out
  cmi-native restore face.png --task sr4 --cmi      # your own picture
  cmi-native restore --help                         # every knob, with its meaning`,
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.PersistentFlags().Bool("quiet", false, "no progress on standard error")
	root.PersistentFlags().String("log", "text", "messages and progress on standard error as text, or as a line of JSON each (json)")
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error {
		m, ok := root.ErrOrStderr().(*messages)
		if !ok {
			return nil
		}
		quiet, err := c.Flags().GetBool("quiet")
		if err != nil {
			return err
		}
		format, err := c.Flags().GetString("log")
		if err != nil {
			return err
		}
		if format != "text" && format != "json" {
			return fmt.Errorf("--log is %q, text or json is wanted", format)
		}
		m.quiet, m.json = quiet, format == "json"
		return nil
	}
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(demoCommand(), restoreCommand(), sampleCommand(), infoCommand(), verifyCommand(), mixtureCommand(), metricsCommand(), benchCommand(), evalCommand(), studyCommand(), mergeCommand(), calibrateCommand(), posteriorCommand(), rerunCommand(), webgpuDriverCommand())
	return root
}
