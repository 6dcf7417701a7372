//go:build linux && !nocuda && (amd64 || arm64)

package libcuda

import (
	"errors"

	"github.com/cmi-diffusion/cmi/gpu/cuda"
)

// BeginCapture implements [cuda.Driver]. Other threads, with other GPUs, are not
// disturbed.
func (g *GPU) BeginCapture() {
	g.queue(func() error {
		err := g.api.check("cuStreamBeginCapture_v2", g.api.StreamBeginCapture_v2(g.stream, captureThreadLocal), "")
		g.capturing = err == nil
		return err
	})
}

// EndCapture implements [cuda.Driver].
func (g *GPU) EndCapture() (cuda.Graph, error) {
	if g.closed {
		return 0, errClosed
	}
	var graph cuda.Graph
	var err error
	g.thread.do(func() {
		if g.capturing { // after a failure too, or the stream stays unusable
			graph, err = g.endCapture()
		} else if g.err == nil {
			err = errors.New("the end of a capture that was not begun")
		}
		if g.err == nil {
			g.err = err
		}
		err = g.err
	})
	return graph, err
}

func (g *GPU) endCapture() (cuda.Graph, error) {
	a := g.api
	g.capturing = false
	var recorded, exec handle
	if err := a.check("cuStreamEndCapture", a.StreamEndCapture(g.stream, &recorded), ""); err != nil {
		return 0, err
	}
	if recorded == 0 {
		return 0, errors.New("the capture recorded nothing")
	}
	err := a.check("cuGraphInstantiateWithFlags", a.GraphInstantiateWithFlags(&exec, recorded, 0), "")
	if e := a.check("cuGraphDestroy", a.GraphDestroy(recorded), ""); err == nil {
		err = e
	}
	if exec != 0 {
		g.graphs[cuda.Graph(exec)] = true
	}
	return cuda.Graph(exec), err
}

// LaunchGraph implements [cuda.Driver].
func (g *GPU) LaunchGraph(graph cuda.Graph) {
	g.queue(func() error {
		if !g.graphs[graph] {
			return errors.New("launch of a graph that was freed")
		}
		return g.api.check("cuGraphLaunch", g.api.GraphLaunch(handle(graph), g.stream), "")
	})
}

// FreeGraph implements [cuda.Driver].
func (g *GPU) FreeGraph(graph cuda.Graph) {
	if graph == 0 {
		return
	}
	g.queue(func() error {
		if !g.graphs[graph] {
			return errors.New("free of a graph that was freed")
		}
		if err := g.sync(); err != nil {
			return err
		}
		delete(g.graphs, graph)
		return g.api.check("cuGraphExecDestroy", g.api.GraphExecDestroy(handle(graph)), "")
	})
}
