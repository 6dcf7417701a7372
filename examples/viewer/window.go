//go:build gl

package main

import (
	"fmt"
	"image"
	"strings"

	"github.com/go-gl/gl/v3.3-core/gl"
	"github.com/go-gl/glfw/v3.3/glfw"

	"github.com/cmi-diffusion/cmi/sdk/picture"
)

// window shows square pictures side by side, each a texture on its own quarter.
type window struct {
	*glfw.Window
	program  uint32
	textures []uint32
}

// Corners come from the vertex number: no vertex data at all.
const vertexShader = `#version 330 core
uniform int panel; uniform int panels; out vec2 at;
void main() {
	at = vec2(gl_VertexID & 1, gl_VertexID >> 1);
	gl_Position = vec4((at.x + float(panel)) * 2.0 / float(panels) - 1.0, 1.0 - 2.0 * at.y, 0.0, 1.0);
}` + "\x00"

const fragmentShader = `#version 330 core
uniform sampler2D picture; in vec2 at; out vec4 colour;
void main() { colour = texture(picture, at); }` + "\x00"

func openWindow(count, side int) (*window, error) {
	if err := glfw.Init(); err != nil {
		return nil, fmt.Errorf("no window can be opened (is there a display?): %w", err)
	}
	glfw.WindowHint(glfw.ContextVersionMajor, 3)
	glfw.WindowHint(glfw.ContextVersionMinor, 3)
	glfw.WindowHint(glfw.OpenGLProfile, glfw.OpenGLCoreProfile)
	glfw.WindowHint(glfw.OpenGLForwardCompatible, glfw.True)
	win, err := glfw.CreateWindow(count*side, side, "loading the model", nil, nil)
	if err != nil {
		glfw.Terminate()
		return nil, fmt.Errorf("OpenGL 3.3 is not to be had: %w", err)
	}
	w := &window{Window: win, textures: make([]uint32, count)}
	win.MakeContextCurrent()
	glfw.SwapInterval(1)
	win.SetKeyCallback(func(win *glfw.Window, key glfw.Key, _ int, _ glfw.Action, _ glfw.ModifierKey) {
		win.SetShouldClose(win.ShouldClose() || key == glfw.KeyEscape)
	})
	if err := gl.Init(); err != nil {
		w.close()
		return nil, err
	}
	if w.program, err = link(vertexShader, fragmentShader); err != nil {
		w.close()
		return nil, err
	}
	var vertices uint32
	gl.GenVertexArrays(1, &vertices)
	gl.BindVertexArray(vertices)
	gl.GenTextures(int32(count), &w.textures[0])
	return w, nil
}

func (w *window) close() {
	w.Destroy()
	glfw.Terminate()
}

func (w *window) wantsToClose() bool { return w.ShouldClose() }

// show puts a picture into its panel; it is drawn from then on.
func (w *window) show(f frame) error {
	p, err := f.image.RGBA()
	if err != nil {
		return err
	}
	gl.BindTexture(gl.TEXTURE_2D, w.textures[f.panel])
	gl.TexParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST)
	gl.TexParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.LINEAR)
	gl.TexParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_S, gl.CLAMP_TO_EDGE)
	gl.TexParameteri(gl.TEXTURE_2D, gl.TEXTURE_WRAP_T, gl.CLAMP_TO_EDGE)
	gl.TexImage2D(gl.TEXTURE_2D, 0, gl.RGBA8, int32(p.Rect.Dx()), int32(p.Rect.Dy()), 0, gl.RGBA, gl.UNSIGNED_BYTE, gl.Ptr(p.Pix))
	if f.title != "" {
		w.SetTitle(f.title)
	}
	return nil
}

// draw shows all panels and answers the keyboard.
func (w *window) draw() {
	w.paint()
	w.SwapBuffers()
	glfw.PollEvents()
}

func (w *window) paint() {
	width, height := w.GetFramebufferSize()
	gl.Viewport(0, 0, int32(width), int32(height))
	gl.ClearColor(0.1, 0.1, 0.1, 1)
	gl.Clear(gl.COLOR_BUFFER_BIT)
	gl.UseProgram(w.program)
	gl.Uniform1i(w.uniform("panels"), int32(len(w.textures)))
	for i, t := range w.textures {
		gl.BindTexture(gl.TEXTURE_2D, t)
		gl.Uniform1i(w.uniform("panel"), int32(i))
		gl.DrawArrays(gl.TRIANGLE_STRIP, 0, 4)
	}
}

func (w *window) uniform(name string) int32 {
	return gl.GetUniformLocation(w.program, gl.Str(name+"\x00"))
}

// save writes what the window shows.
func (w *window) save(path string) error {
	w.paint()
	width, height := w.GetFramebufferSize()
	shot := image.NewRGBA(image.Rect(0, 0, width, height))
	gl.ReadBuffer(gl.BACK)
	gl.ReadPixels(0, 0, int32(width), int32(height), gl.RGBA, gl.UNSIGNED_BYTE, gl.Ptr(shot.Pix))
	if code := gl.GetError(); code != gl.NO_ERROR {
		return fmt.Errorf("OpenGL failed with code %#x", code)
	}
	for y := range height / 2 { // OpenGL's first row is the lowest
		top, bottom := shot.Pix[y*shot.Stride:][:shot.Stride], shot.Pix[(height-1-y)*shot.Stride:][:shot.Stride]
		for i := range top {
			top[i], bottom[i] = bottom[i], top[i]
		}
	}
	return picture.SavePNG(path, shot)
}

// link compiles a program, or gives the compiler's message.
func link(vertex, fragment string) (uint32, error) {
	program := gl.CreateProgram()
	for kind, source := range map[uint32]string{gl.VERTEX_SHADER: vertex, gl.FRAGMENT_SHADER: fragment} {
		shader := gl.CreateShader(kind)
		text, free := gl.Strs(source)
		gl.ShaderSource(shader, 1, text, nil)
		free()
		gl.CompileShader(shader)
		gl.AttachShader(program, shader)
		gl.DeleteShader(shader)
	}
	gl.LinkProgram(program)
	var ok, length int32
	gl.GetProgramiv(program, gl.LINK_STATUS, &ok)
	if ok == gl.TRUE {
		return program, nil
	}
	gl.GetProgramiv(program, gl.INFO_LOG_LENGTH, &length)
	message := strings.Repeat("\x00", int(length)+1)
	gl.GetProgramInfoLog(program, length, nil, gl.Str(message))
	return 0, fmt.Errorf("the shaders do not link: %s", strings.TrimRight(message, "\x00"))
}
