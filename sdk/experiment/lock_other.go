//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package experiment

// lock does nothing where there is no lock that ends with its process.
func lock(string) (unlock func(), err error) { return func() {}, nil }
