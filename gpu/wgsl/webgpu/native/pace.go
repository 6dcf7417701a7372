package native

import "time"

// pace finds how many commands to submit at a time so that one submission takes
// about a tenth of a second at most.
type pace struct {
	commands int // of one submission
	queued   int // submissions since the queue was empty
	since    time.Time
}

const (
	leastCommands, mostCommands = 4, 1024
	longSubmit                  = 200 * time.Millisecond
	shortSubmit                 = 40 * time.Millisecond
)

func newPace() pace { return pace{commands: 64} }

// submitted counts a submission.
func (p *pace) submitted() {
	if p.queued == 0 {
		p.since = time.Now()
	}
	p.queued++
}

// idle is called when the queue has become empty.
func (p *pace) idle() {
	if p.queued > 0 {
		p.adapt(time.Since(p.since) / time.Duration(p.queued))
	}
	p.queued = 0
}

// adapt goes by the mean time that a submission took.
func (p *pace) adapt(each time.Duration) {
	switch {
	case each > longSubmit:
		p.commands = max(leastCommands, p.commands/2)
	case each < shortSubmit:
		p.commands = min(mostCommands, 2*p.commands)
	}
}
