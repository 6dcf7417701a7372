package diffusion

import "math"

// A Prediction says what a network F was trained to predict at x_t = √ᾱ x0 + √(1−ᾱ) n, in
// the one form that all of them have: the predicted noise is
//
//	ε(x_t) = X·x_t + Out·F(In·x_t; Time).
//
// alphaBar is ᾱ_t in (0, 1), t the timestep.
type Prediction func(alphaBar float64, t int) Coefficients

// Coefficients are those of a [Prediction] at one time.
type Coefficients struct {
	X, Out, In float64
	Time       float64 // what the network takes for the time
}

// PredictsNoise is the parameterisation of DDPM (Ho et al. 2020): F is ε itself.
func PredictsNoise(_ float64, t int) Coefficients {
	return Coefficients{Out: 1, In: 1, Time: float64(t)}
}

// PredictsImage is that of networks that give x0: ε = (x_t − √ᾱ x0)/√(1−ᾱ).
func PredictsImage(alphaBar float64, t int) Coefficients {
	sigma := math.Sqrt(1 - alphaBar)
	return Coefficients{X: 1 / sigma, Out: -math.Sqrt(alphaBar) / sigma, In: 1, Time: float64(t)}
}

// PredictsVelocity is that of networks that give v = √ᾱ ε − √(1−ᾱ) x0 (Salimans & Ho 2022):
// ε = √(1−ᾱ) x_t + √ᾱ v.
func PredictsVelocity(alphaBar float64, t int) Coefficients {
	return Coefficients{X: math.Sqrt(1 - alphaBar), Out: math.Sqrt(alphaBar), In: 1, Time: float64(t)}
}

// denoiser is the form of Karras et al. 2022, eq. 7: D(z; σ) = skip·z + out·F(in·z; time) is
// the clean image in z = x_t/√ᾱ, where σ = √((1−ᾱ)/ᾱ), and ε = (z − D)/σ.
func denoiser(of func(sigma float64) (skip, out, in, time float64)) Prediction {
	return func(alphaBar float64, _ int) Coefficients {
		signal := math.Sqrt(alphaBar)
		sigma := math.Sqrt(1-alphaBar) / signal
		skip, out, in, time := of(sigma)
		return Coefficients{X: (1 - skip) / (sigma * signal), Out: -out / sigma, In: in / signal, Time: time}
	}
}

// PredictsEDM is EDM's parameterisation (Karras et al. 2022, table 1) of networks for images
// of standard deviation sigmaData.
func PredictsEDM(sigmaData float64) Prediction {
	return denoiser(func(sigma float64) (skip, out, in, time float64) {
		total := sigma*sigma + sigmaData*sigmaData
		return sigmaData * sigmaData / total, sigma * sigmaData / math.Sqrt(total), 1 / math.Sqrt(total), math.Log(sigma) / 4
	})
}

// PredictsVP is that of the variance-preserving networks of Song et al. 2021 in EDM's form:
// β(t) = betaMin + betaD·t for t in [0, 1], and the network takes (steps−1)·t for the time.
func PredictsVP(betaD, betaMin float64, steps int) Prediction {
	return denoiser(func(sigma float64) (skip, out, in, time float64) {
		t := (math.Sqrt(betaMin*betaMin+2*betaD*math.Log1p(sigma*sigma)) - betaMin) / betaD
		return 1, -sigma, 1 / math.Sqrt(sigma*sigma+1), float64(steps-1) * t
	})
}

// PredictsVE is that of the variance-exploding networks of Song et al. 2021 in EDM's form.
func PredictsVE() Prediction {
	return denoiser(func(sigma float64) (skip, out, in, time float64) {
		return 1, sigma, 1, math.Log(sigma / 2)
	})
}
