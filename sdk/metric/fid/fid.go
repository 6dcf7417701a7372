// Package fid is the Fréchet inception distance between two sets of images (Heusel,
// Ramsauer, Unterthiner, Nessler & Hochreiter 2017): the 2-Wasserstein distance,
// squared, between Gaussians fitted to the images' features.
//
// It is called FID where the features are those of [Inception]; on another network
// the same formula gives numbers that compare with one another only. It is biased
// upwards for few images: compare sets of equal size, and take published numbers,
// which are for thousands, with thousands.
package fid

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Features computes what the distance compares: dim values for each image of
// [N,3,H,W], RGB on [0, 1]. [Inception] does, and so does lpips.Metric.
type Features interface {
	Backbone() string // the network's name
	Features(x []float32, n, c, h, w int) (features []float32, dim int, err error)
}

// Statistics are the mean and the covariance of a set's features.
type Statistics struct {
	mean       []float64
	covariance *mat.SymDense
	// factor F has FᵀF = covariance: the centred features over √(n − 1), one row an
	// image, while those are fewer than the dimensions; else nil.
	factor *mat.Dense
}

// NewStatistics returns the statistics of features, dim values an image, of at least
// two images. The covariance is the unbiased one (over n − 1).
func NewStatistics(features []float32, dim int) (*Statistics, error) {
	var a Accumulator
	if err := a.Add(features, dim); err != nil {
		return nil, err
	}
	return a.Statistics()
}

// Accumulator gathers statistics from features that come bit by bit. It keeps the features
// of at most dim images, and for more of them the mean and the covariance, so that its memory
// is O(dim²) however many images there are: 0.1 GB for the 2048 features of [Inception]. The
// zero value is ready.
type Accumulator struct {
	dim, n  int       // n: images in mean and scatter
	block   []float32 // features of further images, fewer than dim of them
	mean    []float64
	scatter *mat.SymDense // Σ (f − mean)(f − mean)ᵀ; nil while n is 0
}

// Add takes the features of more images, dim values an image, finite ones; dim must be the same in every call.
func (a *Accumulator) Add(features []float32, dim int) error {
	if dim < 1 || len(features)%dim != 0 {
		return fmt.Errorf("FID: %d features, want a multiple of %d", len(features), dim)
	}
	if a.dim != 0 && a.dim != dim {
		return fmt.Errorf("FID: %d features an image after %d, want those of one network", dim, a.dim)
	}
	a.dim = dim
	for i, v := range features {
		if v-v != 0 {
			return fmt.Errorf("FID: feature %d of image %d is %v, want finite values", i%dim, a.images()+i/dim, v)
		}
	}
	for len(features) > 0 {
		some := min(len(features), dim*dim-len(a.block))
		a.block, features = append(a.block, features[:some]...), features[some:]
		if len(a.block) == dim*dim {
			a.fold()
		}
	}
	return nil
}

func (a *Accumulator) images() int { return a.n + len(a.block)/max(a.dim, 1) }

// fold moves the images of the block into mean and scatter, by the pairwise update of Chan, Golub
// & LeVeque (1979), which loses no digits where the mean is far from 0.
func (a *Accumulator) fold() {
	n := len(a.block) / a.dim
	if n == 0 {
		return
	}
	mean, centred := centre(a.block, a.dim)
	a.block = a.block[:0]
	if a.n == 0 {
		a.n, a.mean, a.scatter = n, mean, mat.NewSymDense(a.dim, nil)
		a.scatter.SymOuterK(1, centred.T())
		return
	}
	all := float64(a.n + n)
	apart := mat.NewVecDense(a.dim, nil)
	for i, m := range mean {
		apart.SetVec(i, m-a.mean[i])
		a.mean[i] += (m - a.mean[i]) * float64(n) / all
	}
	a.scatter.SymRankK(a.scatter, 1, centred.T())
	a.scatter.SymRankOne(a.scatter, float64(a.n)*float64(n)/all, apart)
	a.n += n
}

// centre returns the mean of features and their distances from it, one row an image.
func centre(features []float32, dim int) ([]float64, *mat.Dense) {
	n := len(features) / dim
	mean, centred := make([]float64, dim), mat.NewDense(n, dim, nil)
	for i, v := range features {
		mean[i%dim] += float64(v) / float64(n)
	}
	for i, v := range features {
		centred.Set(i/dim, i%dim, float64(v)-mean[i%dim])
	}
	return mean, centred
}

// Statistics returns those of all images so far, at least two. More can be added afterwards.
func (a *Accumulator) Statistics() (*Statistics, error) {
	n := a.images()
	if n < 2 {
		return nil, fmt.Errorf("FID: %d images, want at least 2 for a covariance", n)
	}
	s := &Statistics{covariance: mat.NewSymDense(a.dim, nil)}
	if n < a.dim {
		s.mean, s.factor = centre(a.block, a.dim)
		s.factor.Scale(1/math.Sqrt(float64(n-1)), s.factor)
		s.covariance.SymOuterK(1, s.factor.T())
		return s, nil
	}
	a.fold()
	s.mean = append(s.mean, a.mean...)
	s.covariance.ScaleSym(1/float64(n-1), a.scatter)
	return s, nil
}

// FromMoments are statistics with a given mean [dim] and covariance [dim, dim],
// row-major. The covariance must be symmetric to 10⁻⁶ of its largest entry, with
// variances ≥ 0.
func FromMoments(mean, covariance []float64) (*Statistics, error) {
	dim := len(mean)
	if dim < 1 || len(covariance) != dim*dim {
		return nil, fmt.Errorf("FID: mean of %d and covariance of %d values, want dim and dim²", dim, len(covariance))
	}
	largest := 0.0
	for i, v := range append(mean[:dim:dim], covariance...) {
		if v-v != 0 {
			return nil, fmt.Errorf("FID: value %d of mean and covariance is %v, want finite values", i, v)
		}
		if i >= dim {
			largest = max(largest, math.Abs(v))
		}
	}
	s := &Statistics{mean: mean, covariance: mat.NewSymDense(dim, nil)}
	for i := range dim {
		if v := covariance[i*dim+i]; v < 0 {
			return nil, fmt.Errorf("FID: variance %d is %g, want ≥ 0", i, v)
		}
		for j := i; j < dim; j++ {
			a, b := covariance[i*dim+j], covariance[j*dim+i]
			if math.Abs(a-b) > 1e-6*largest {
				return nil, fmt.Errorf("FID: covariance is not symmetric: entry (%d, %d) is %g and (%d, %d) is %g", i, j, a, j, i, b)
			}
			s.covariance.SetSym(i, j, (a+b)/2)
		}
	}
	return s, nil
}

// Dim returns the number of features.
func (s *Statistics) Dim() int { return len(s.mean) }

// Mean of the features; not to be changed.
func (s *Statistics) Mean() []float64 { return s.mean }

// Covariance of the features; not to be changed.
func (s *Statistics) Covariance() mat.Symmetric { return s.covariance }

// Distance returns the Fréchet distance ‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2 (Σ_a Σ_b)^½),
// ≥ 0 (Dowson & Landau 1982).
//
// The trace of the root is the sum of the roots of the eigenvalues of F Σ_b Fᵀ with
// FᵀF = Σ_a, which are those of Σ_a Σ_b: a symmetric problem that stays finite and
// real for covariances without full rank, where iterations for the root of the
// product do not. Two full covariances of 2048 dimensions take some twenty seconds.
func Distance(a, b *Statistics) (float64, error) {
	dim := a.Dim()
	if b.Dim() != dim {
		return 0, fmt.Errorf("FID: statistics of %d and %d features, want those of one network", dim, b.Dim())
	}
	// The side with fewer images makes the smaller problem.
	if b.factor != nil && (a.factor == nil || b.factor.RawMatrix().Rows < a.factor.RawMatrix().Rows) {
		a, b = b, a
	}
	f := a.factor
	if f == nil {
		f = root(a.covariance)
	}
	n, _ := f.Dims()
	var fs, product mat.Dense
	fs.Mul(f, b.covariance)
	product.Mul(&fs, f.T())
	symmetric := mat.NewSymDense(n, nil)
	for i := range n {
		for j := i; j < n; j++ {
			symmetric.SetSym(i, j, (product.At(i, j)+product.At(j, i))/2)
		}
	}
	var eigen mat.EigenSym
	if !eigen.Factorize(symmetric, false) {
		return 0, errors.New("FID: the eigenvalues of the covariances' product did not converge")
	}
	d := mat.Trace(a.covariance) + mat.Trace(b.covariance)
	for i, m := range a.mean {
		d += (m - b.mean[i]) * (m - b.mean[i])
	}
	for _, e := range eigen.Values(nil) {
		d -= 2 * math.Sqrt(max(e, 0)) // below zero by rounding only
	}
	if d-d != 0 {
		return 0, fmt.Errorf("FID: the distance overflows: %v", d)
	}
	return max(d, 0), nil // equal sets may differ by rounding
}

// root is F with FᵀF = c by Cholesky's factorisation with pivots, which takes
// covariances of any rank.
func root(c *mat.SymDense) *mat.Dense {
	var chol mat.PivotedCholesky
	chol.Factorize(c, -1) // false for a deficient rank, the factor holds all the same
	var u mat.TriDense
	chol.UTo(&u)
	rank, dim := max(chol.Rank(), 1), c.SymmetricDim()
	f := mat.NewDense(rank, dim, nil)
	for j, pivot := range chol.ColumnPivots(nil) {
		for i := range min(rank, j+1) {
			f.Set(i, pivot, u.At(i, j))
		}
	}
	return f
}
