package experiment

// Disk is what an experiment takes on a disk at most.
type Disk struct {
	Files int64
	Bytes int64
}

// Disk bounds what the shards of a grid write when all jobs are finished, for pictures of side ×
// side pixels and so many steps: PNG files of 8 bits a channel that did not compress at all, and
// results whose curves have every digit. States in hand come on top: 4 bytes for each value of an
// image, and of what a method carries, for each process. [Merge] adds the results once more, and
// the pictures where it can't link.
func (g Grid) Disk(side, steps int) Disk {
	const (
		block = 4096 // of the file system: what the last part of a file takes at most
		line  = 1500 // of a result without its curves
		value = 13   // of a curve: "-1.23456e-05,"
	)
	picture := int64(3*side*side+side) + int64(3*side*side+side)/1000 + 1024 + block
	result := int64(line+2*value*steps) + block
	jobs, inputs := int64(g.Len()), int64(len(g.Names))*int64(1+len(g.Tasks))
	return Disk{Files: 2*jobs + inputs, Bytes: jobs*(picture+result) + inputs*picture}
}

// LargestPart returns the time of the part that takes longest when a grid is cut into n, given the
// seconds of a job of each cell; all jobs together take the sum.
func (g Grid) LargestPart(n int, seconds func(Cell) float64) float64 {
	largest := 0.0
	for i := 1; i <= n; i++ {
		p, sum := Part{i, n}, 0.0
		for k := range g.partLen(p) {
			sum += seconds(g.partJob(p, k).Cell)
		}
		largest = max(largest, sum)
	}
	return largest
}
