# set_stack(top): each thread has its own stack pointer in the shared memory.
	.globaltype	__stack_pointer, i32
	.globl	set_stack
	.type	set_stack,@function
set_stack:
	.functype	set_stack (i32) -> ()
	local.get	0
	global.set	__stack_pointer
	end_function
