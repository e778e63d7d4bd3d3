package chunks

import (
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

// log is a log of records of up to a block, of one type of chunks, in a buffer with room behind.
func log(t byte, number uint32, records int) (data []byte) {
	random := rand.New(rand.NewPCG(1, 2))
	for range records {
		body := []byte{t}
		switch {
		case t > 8:
			body = binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(body, number), 0)
		case t > 4:
			body = binary.LittleEndian.AppendUint32(body, number)
		}
		head := len(body)
		n := 1000 + random.IntN(8000)
		if left := block - len(data)%block - 6 - head; left < n+100 {
			n = left // a chunk goes to its block's end
		}
		for range n {
			body = append(body, byte(1+random.IntN(255)))
		}
		sum := crc32.Checksum(body, castagnoli)
		data = binary.LittleEndian.AppendUint32(data, (sum>>15|sum<<17)+0xa282ead8)
		data = binary.LittleEndian.AppendUint16(data, uint16(len(body)-head))
		data = append(data, body...)
	}
	return data
}

func TestDamage(t *testing.T) {
	for _, kind := range []byte{1, 5, 9} {
		data := log(kind, 7, 100)
		random := rand.New(rand.NewPCG(3, 4))
		if at, bad := Damage(data, 7); bad {
			t.Fatalf("type %d: a log that is whole is damaged at %d", kind, at)
		}
		for range 500 {
			i := random.IntN(len(data) * 9 / 10)
			if data[i] == 0 {
				continue
			}
			data[i] ^= 0x20
			if at, bad := Damage(data, 7); !bad || at > i || at < i-block {
				t.Fatalf("type %d: byte %d was changed; damaged at %d, %v", kind, i, at, bad)
			}
			data[i] ^= 0x20
		}
		// What a crash leaves: a tail that is cut off, or has other bytes, or pages that were not written.
		for range 500 {
			if _, bad := Damage(data[:random.IntN(len(data))], 7); bad {
				t.Fatalf("type %d: a log that was cut off is damaged", kind)
			}
			torn := append([]byte(nil), data...)
			p := random.IntN(len(torn)/page) * page
			p, end := p+random.IntN(page-100), p+page // what came before was synced
			clear(torn[p:end])
			if at, bad := Damage(torn, 7); bad {
				t.Fatalf("type %d: a page was not written at %d; damaged at %d", kind, p, at)
			}
		}
		// Behind the end of a log in a file that is used again is another log.
		if kind > 4 {
			again := log(kind, 8, 20)
			if _, bad := Damage(append(again[:len(again)-50:len(again)-50], data[len(again):]...), 8); bad {
				t.Errorf("type %d: an older log behind is taken for damage", kind)
			}
		}
	}
}
