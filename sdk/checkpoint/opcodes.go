package checkpoint

// Opcodes by the names of Python's pickletools, where each is documented.
const (
	opAddItems        = 0x90
	opAppend          = 'a'
	opAppends         = 'e'
	opBinBytes        = 'B'
	opBinBytes8       = 0x8e
	opBinFloat        = 'G'
	opBinGet          = 'h'
	opBinInt          = 'J'
	opBinInt1         = 'K'
	opBinInt2         = 'M'
	opBinPersID       = 'Q'
	opBinPut          = 'q'
	opBinString       = 'T'
	opBinUnicode      = 'X'
	opBinUnicode8     = 0x8d
	opBuild           = 'b'
	opEmptyDict       = '}'
	opEmptyList       = ']'
	opEmptySet        = 0x8f
	opEmptyTuple      = ')'
	opFrame           = 0x95
	opGlobal          = 'c'
	opLong1           = 0x8a
	opLongBinGet      = 'j'
	opLongBinPut      = 'r'
	opMark            = '('
	opMemoize         = 0x94
	opNewFalse        = 0x89
	opNewObj          = 0x81
	opNewTrue         = 0x88
	opNone            = 'N'
	opProto           = 0x80
	opReduce          = 'R'
	opSetItem         = 's'
	opSetItems        = 'u'
	opShortBinBytes   = 'C'
	opShortBinString  = 'U'
	opShortBinUnicode = 0x8c
	opStackGlobal     = 0x93
	opStop            = '.'
	opTuple           = 't'
	opTuple1          = 0x85
	opTuple2          = 0x86
	opTuple3          = 0x87
)

// refused names the opcodes that are left out, for the error message: those that call
// or make objects, and those that no writer of state dicts uses.
var refused = map[byte]string{
	'i': "INST", 'o': "OBJ", 0x92: "NEWOBJ_EX", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4",
	'P': "PERSID", 'I': "INT", 'L': "LONG", 'F': "FLOAT", 'S': "STRING", 'V': "UNICODE", 'd': "DICT", 'l': "LIST",
	'g': "GET", 'p': "PUT", '0': "POP", '1': "POP_MARK", '2': "DUP", 0x8b: "LONG4",
	0x91: "FROZENSET",
	0x96: "BYTEARRAY8", 0x97: "NEXT_BUFFER", 0x98: "READONLY_BUFFER",
}

// step runs one opcode.
func (m *machine) step(op byte) {
	switch op {
	case opProto:
		if v := m.number(1); v > 5 {
			m.fail("protocol %d, wanted 2 to 5", v)
		}
	case opFrame: // says how far to read ahead, which does not matter here
		m.number(8)
	case opMark:
		m.mark()
	case opNone:
		m.push(nil)
	case opNewTrue, opNewFalse:
		m.push(op == opNewTrue)
	case opBinInt:
		m.push(int64(int32(m.number(4))))
	case opBinInt1:
		m.push(int64(m.number(1)))
	case opBinInt2:
		m.push(int64(m.number(2)))
	case opLong1:
		m.long(m.number(1))
	case opBinFloat:
		m.float()
	case opShortBinUnicode, opShortBinString:
		m.push(string(m.bytes(m.number(1))))
	case opBinUnicode, opBinString:
		m.push(string(m.bytes(m.number(4))))
	case opBinUnicode8:
		m.push(string(m.bytes(m.number(8))))
	case opShortBinBytes:
		m.bytesObject(m.number(1))
	case opBinBytes:
		m.bytesObject(m.number(4))
	case opBinBytes8:
		m.bytesObject(m.number(8))
	case opEmptyDict:
		m.charge(costDict)
		m.push(newDict())
	case opEmptyList, opEmptySet: // nothing that is read stands in a set
		m.charge(costObject)
		m.push(&list{})
	case opEmptyTuple:
		m.push(tuple{})
	case opTuple:
		m.tuple(m.popMark())
	case opTuple1, opTuple2, opTuple3:
		m.tuple(m.pops(int(op) - opTuple1 + 1))
	case opAppend:
		m.extend([]any{m.pop()})
	case opAppends, opAddItems:
		m.extend(m.popMark())
	case opSetItem:
		m.set(m.pops(2))
	case opSetItems:
		m.set(m.popMark())
	case opBinPut:
		m.put(m.number(1))
	case opLongBinPut:
		m.put(m.number(4))
	case opMemoize:
		m.put(uint64(len(m.memo)))
	case opBinGet:
		m.get(m.number(1))
	case opLongBinGet:
		m.get(m.number(4))
	case opGlobal:
		module := m.line()
		m.global(module, m.line())
	case opStackGlobal:
		names := m.pops(2)
		module, ok := names[0].(string)
		name, ok2 := names[1].(string)
		if !ok || !ok2 {
			m.fail("name of a global that is not a string")
		}
		m.global(module, name)
	case opReduce:
		m.reduce()
	case opNewObj:
		m.newObject()
	case opBuild:
		m.build()
	case opBinPersID:
		m.persistent(m.pop())
	default:
		name, ok := refused[op]
		if !ok {
			name = "unknown"
		}
		m.fail("refused opcode 0x%02x (%s): not part of a state dict", op, name)
	}
}
