// Reads a shared object's header, segments and dynamic section (System V ABI, chapters 4 and 5). Only 64-bit little-endian
// files are read further than their header: cierge runs on no other machines.
#include "base/elf.h"

#include <elf.h>
#include <stdio.h>
#include <string.h>

#if defined(__x86_64__)
#define HERE EM_X86_64
#elif defined(__aarch64__)
#define HERE EM_AARCH64
#else
#define HERE EM_NONE
#endif

typedef struct {
  const uint8_t *data;
  size_t size;
  Elf64_Ehdr head;
} file;

static bool inside(const file *f, uint64_t offset, uint64_t n) { return offset <= f->size && n <= f->size - offset; }

static Elf64_Phdr segment(const file *f, int i) {
  Elf64_Phdr p;
  memcpy(&p, f->data + f->head.e_phoff + (uint64_t)i * sizeof p, sizeof p);
  return p;
}

// The bytes at an address of the loaded library, at least `n` of them; *room: how many there are. NULL: they are not in the file.
static const uint8_t *at_address(const file *f, uint64_t address, uint64_t n, uint64_t *room) {
  for (int i = 0; i < f->head.e_phnum; i++) {
    Elf64_Phdr p = segment(f, i);
    if (p.p_type != PT_LOAD || address < p.p_vaddr || address - p.p_vaddr > p.p_filesz || n > p.p_filesz - (address - p.p_vaddr)) continue;
    if (room) *room = p.p_filesz - (address - p.p_vaddr);
    return f->data + p.p_offset + (address - p.p_vaddr);
  }
  return NULL;
}

static const char *machine_name(unsigned machine) {
  static const struct { unsigned machine; const char *name; } names[] = {
      {EM_386, "32-bit x86"}, {EM_X86_64, "x86-64"}, {EM_ARM, "32-bit ARM"}, {EM_AARCH64, "64-bit ARM"}, {EM_RISCV, "RISC-V"}, {EM_PPC64, "PowerPC"}, {EM_S390, "s390"}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].machine == machine) return names[i].name;
  return "an unknown machine";
}

static const char *cut_off(const file *f, uint64_t end, char *text, size_t n) {
  snprintf(text, n, "it is cut off: it has %zu bytes, and its header speaks of %llu", f->size, (unsigned long long)end);
  return text;
}

static const char *check_header(file *f, char *text, size_t n) {
  static const char not_elf[] = "it is no shared library (no ELF file)";
  if (f->size < SELFMAG || memcmp(f->data, ELFMAG, SELFMAG)) return not_elf;
  if (f->size < sizeof f->head) return cut_off(f, sizeof f->head, text, n);
  memcpy(&f->head, f->data, sizeof f->head);
  if (f->head.e_ident[EI_DATA] != ELFDATA2LSB) return "it is for big-endian machines";
  if (f->head.e_machine != HERE || f->head.e_ident[EI_CLASS] != ELFCLASS64) {
    snprintf(text, n, "it is for another machine (%s; here is %s)", machine_name(f->head.e_machine), machine_name(HERE));
    return text;
  }
  if (f->head.e_type != ET_DYN) return f->head.e_type == ET_REL ? "it is an object file: link it (-shared)" : "it is no shared library";
  if (!f->head.e_phnum || f->head.e_phentsize != sizeof(Elf64_Phdr)) return "its program header is damaged";
  uint64_t table = (uint64_t)f->head.e_phnum * sizeof(Elf64_Phdr);
  if (!inside(f, f->head.e_phoff, table)) return cut_off(f, f->head.e_phoff + table, text, n);
  return NULL;
}

// Everything the header speaks of must be there: segments, and the table of sections that linkers write last.
static const char *check_size(const file *f, char *text, size_t n) {
  for (int i = 0; i < f->head.e_phnum; i++) {
    Elf64_Phdr p = segment(f, i);
    if ((p.p_type == PT_LOAD || p.p_type == PT_DYNAMIC) && !inside(f, p.p_offset, p.p_filesz)) return cut_off(f, p.p_offset + p.p_filesz, text, n);
  }
  uint64_t table = (uint64_t)f->head.e_shnum * f->head.e_shentsize;
  if (f->head.e_shoff && !inside(f, f->head.e_shoff, table)) return cut_off(f, f->head.e_shoff + table, text, n);
  return NULL;
}

// ---------------------------------------------------------------- the dynamic section

typedef struct {
  const char *strings;
  uint64_t n_strings;
  const uint8_t *symbols;
  uint64_t n_symbols; // those that may be undefined
} dynamic;

static const char *string_at(const dynamic *d, uint64_t at) {
  return at < d->n_strings && memchr(d->strings + at, 0, d->n_strings - at) ? d->strings + at : NULL;
}

static Elf64_Dyn entry(const uint8_t *table, uint64_t i) {
  Elf64_Dyn e;
  memcpy(&e, table + i * sizeof e, sizeof e);
  return e;
}

static uint64_t value_of(const uint8_t *table, uint64_t n, int64_t tag) {
  for (uint64_t i = 0; i < n; i++)
    if (entry(table, i).d_tag == tag) return entry(table, i).d_un.d_val;
  return 0;
}

// How many symbols come before those that the hash table finds (the undefined ones), or all of them.
static uint64_t symbol_count(const file *f, const uint8_t *table, uint64_t n) {
  uint32_t word[2] = {0};
  const uint8_t *hash;
  uint64_t at;
  if ((at = value_of(table, n, DT_HASH)) && (hash = at_address(f, at, 8, NULL))) memcpy(word, hash, 8); // buckets, chains
  else if ((at = value_of(table, n, DT_GNU_HASH)) && (hash = at_address(f, at, 8, NULL))) memcpy(word, hash, 8); // buckets, first symbol
  return word[1];
}

static bool is_python_library(const char *name) { return !strncmp(name, "libtorch_python.", 16) || !strncmp(name, "libpython", 9); }
static bool is_python_symbol(const char *name) { return !strncmp(name, "Py", 2) || !strncmp(name, "_Py", 3); }

static void find_wants(const dynamic *d, const uint8_t *table, uint64_t n, cg_elf_wants *out) {
  for (uint64_t i = 0; i < n && !out->python_library; i++) {
    Elf64_Dyn e = entry(table, i);
    const char *name = e.d_tag == DT_NEEDED ? string_at(d, e.d_un.d_val) : NULL;
    if (name && is_python_library(name)) out->python_library = name;
  }
  for (uint64_t i = 1; i < d->n_symbols && !out->python_symbol; i++) {
    Elf64_Sym s;
    memcpy(&s, d->symbols + i * sizeof s, sizeof s);
    const char *name = s.st_shndx == SHN_UNDEF && ELF64_ST_BIND(s.st_info) != STB_WEAK ? string_at(d, s.st_name) : NULL;
    if (name && is_python_symbol(name)) out->python_symbol = name;
  }
}

const char *cg_elf_read(const uint8_t *data, size_t size, cg_elf_wants *out, char *text, size_t text_size) {
  file f = {.data = data, .size = size};
  *out = (cg_elf_wants){0};
  const char *why = check_header(&f, text, text_size);
  if (!why) why = check_size(&f, text, text_size);
  if (why) return why;
  for (int i = 0; i < f.head.e_phnum; i++) {
    Elf64_Phdr p = segment(&f, i);
    if (p.p_type != PT_DYNAMIC) continue;
    const uint8_t *table = data + p.p_offset;
    uint64_t n = p.p_filesz / sizeof(Elf64_Dyn), room = 0;
    dynamic d = {.n_strings = value_of(table, n, DT_STRSZ)};
    d.strings = (const char *)at_address(&f, value_of(table, n, DT_STRTAB), d.n_strings, NULL);
    d.symbols = at_address(&f, value_of(table, n, DT_SYMTAB), sizeof(Elf64_Sym), &room);
    if (!d.strings) return "its dynamic section is damaged";
    if (d.symbols) d.n_symbols = symbol_count(&f, table, n);
    if (d.n_symbols > room / sizeof(Elf64_Sym)) d.n_symbols = room / sizeof(Elf64_Sym);
    find_wants(&d, table, n, out);
    return NULL;
  }
  return "it is no shared library (it has no dynamic section)";
}
