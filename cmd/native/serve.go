package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync/atomic"
	"time"
)

// counters are what a shard tells Prometheus.
type counters struct {
	part                                          string
	jobs, done                                    int64 // of the part, when the process began
	begun, resumed, finished, checkpoints, passes atomic.Int64
	damaged                                       atomic.Int64
}

// serve answers /metrics, in Prometheus's text format, and /debug/pprof/ at an address of this
// machine alone, until the context ends.
func (n *counters) serve(ctx context.Context, address string) (where string, err error) {
	if err := local(address); err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return "", fmt.Errorf("--metrics: %w", err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", n.metrics)
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.Serve(listener) }() // ends when it is closed
	context.AfterFunc(ctx, func() { server.Close() })
	return listener.Addr().String(), nil
}

// local refuses an address that other machines could reach.
func local(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("--metrics %s: localhost:PORT is wanted: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("--metrics %s: an address of this machine alone is wanted, localhost:PORT, because nothing asks who looks", address)
	}
	return nil
}

func (n *counters) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	var text strings.Builder
	one := func(name, kind, help string, value int64) {
		fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %s %s\n%s{part=%q} %d\n", name, help, name, kind, name, n.part, value)
	}
	one("cmi_part_jobs", "gauge", "Jobs of this part.", n.jobs)
	one("cmi_part_jobs_done_at_start", "gauge", "Jobs of this part that were finished when the process began.", n.done)
	one("cmi_jobs_begun_total", "counter", "Jobs that this process began at their first step.", n.begun.Load())
	one("cmi_jobs_resumed_total", "counter", "Jobs that this process went on with from a saved state.", n.resumed.Load())
	one("cmi_jobs_finished_total", "counter", "Jobs that this process finished.", n.finished.Load())
	one("cmi_checkpoints_total", "counter", "States that this process saved.", n.checkpoints.Load())
	one("cmi_states_damaged_total", "counter", "States that could not be used.", n.damaged.Load())
	one("cmi_network_passes_total", "counter", "Network passes of this process, in units of one forward.", n.passes.Load())
	_, _ = w.Write([]byte(text.String())) // who asked may be gone
}
