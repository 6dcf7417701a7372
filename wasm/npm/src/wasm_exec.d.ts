// Go's own glue, copied from the Go release that compiles the program.
export {};
