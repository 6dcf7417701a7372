package compute

// HostMemory returns how many bytes of the machine's memory a device may take that computes
// there: three quarters of what this process can still have, so that the rest of the
// program and of the machine lives on. It is 0 where nobody says.
func HostMemory() int64 { return hostFree() / 4 * 3 }
