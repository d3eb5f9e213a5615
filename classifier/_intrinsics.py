"""What compiled kernels do with memory that numba has no words for; imports numba.

Plain Python runs the functions of the same names in ``_jit`` instead.
"""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["borrow", "copy_bytes", "count_below", "keep_alive", "prefetch", "read_file"]


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(typingctx: Any, array: Any, index: Any, line: Any) -> Any:
    """Ask the processor to load cache line ``line`` of ``array[index]`` (one-dimensional).

    Of a read-only array for reading, so that cores that share it do not take the line from each other.
    """
    purpose = int(array.mutable)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array_type = signature.args[0]
        view = context.make_array(array_type)(context, builder, args[0])
        size = ir.Constant(
            ir.IntType(64), context.get_abi_sizeof(context.get_data_type(array_type.dtype))
        )
        i8p = ir.IntType(8).as_pointer()
        base = builder.bitcast(view.data, i8p)
        line = ir.Constant(ir.IntType(64), 64)
        offset = builder.add(builder.mul(args[1], size), builder.mul(args[2], line))
        pointer = builder.gep(base, [offset])
        i32 = ir.IntType(32)
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(ir.VoidType(), [i8p, i32, i32, i32]), "llvm.prefetch.p0"
        )
        builder.call(function, [pointer, i32(purpose), i32(3), i32(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def borrow(typingctx: Any, array: Any) -> Any:
    """Return the array without its owner: helpers it is passed to then count no references.

    Numba counts references atomically in every helper that is not inlined; over a packet that was
    more than half of the time. The caller of the kernel keeps the array alive; an array that the kernel
    makes needs ``keep_alive`` behind all that reads what was borrowed.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        view.meminfo = cgutils.get_null_value(view.meminfo.type)
        view.parent = cgutils.get_null_value(view.parent.type)
        return view._getvalue()

    return array(array), codegen


@intrinsic  # type: ignore[untyped-decorator]
def keep_alive(typingctx: Any, array: Any) -> Any:
    """Be the last use of an array: numba frees it there."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.get_dummy_value()

    return types.void(array), codegen


@intrinsic  # type: ignore[untyped-decorator]
def copy_bytes(typingctx: Any, source: Any, start: Any, size: Any, target: Any, at: Any) -> Any:
    """Copy ``size`` bytes from ``source[start:]`` to ``target[at:]``; the two must not overlap.

    Nothing is checked: the caller knows that both hold as much.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def address(which: int, index: Any) -> Any:
            view = context.make_array(signature.args[which])(context, builder, args[which])
            return builder.gep(builder.bitcast(view.data, ir.IntType(8).as_pointer()), [index])

        cgutils.raw_memcpy(builder, address(3, args[4]), address(0, args[1]), args[2], 1)
        return context.get_dummy_value()

    return types.void(source, types.int64, types.int64, target, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def read_file(typingctx: Any, descriptor: Any, target: Any, start: Any, size: Any) -> Any:
    """Read up to ``size`` bytes of a file to ``target[start:]``; 0 at its end, -1 at a failure.

    That the array has room for them is not checked. The C library's ``read``: POSIX alone.
    """

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[1])(context, builder, args[1])
        word, byte = ir.IntType(64), ir.IntType(8).as_pointer()
        place = builder.gep(builder.bitcast(view.data, byte), [args[2]])
        kind = ir.FunctionType(word, [ir.IntType(32), byte, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "read")
        return builder.call(function, [builder.trunc(args[0], ir.IntType(32)), place, args[3]])

    return types.int64(types.int64, target, types.int64, types.int64), codegen


@intrinsic  # type: ignore[untyped-decorator]
def count_below(typingctx: Any, array: Any, start: Any, key: Any, count: Any) -> Any:
    """Count numbers less than ``key`` among the ``count`` from ``array[start]`` on.

    One vector comparison and a count of its bits: 16 numbers of uint16, 4 of uint64. Reads all of
    them, whatever ``count`` is. LLVM lowers it for any processor.
    """
    bits = array.dtype.bitwidth
    lanes = 16 if bits == 16 else 4

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        view = context.make_array(signature.args[0])(context, builder, args[0])
        item, whole = ir.IntType(bits), ir.IntType(64)
        vector = ir.VectorType(item, lanes)
        pointer = builder.bitcast(builder.gep(view.data, [args[1]]), vector.as_pointer())
        values = builder.load(pointer)
        values.align = bits // 8
        wanted = builder.trunc(args[2], item) if bits < 64 else args[2]
        nothing = ir.Constant(vector, ir.Undefined)
        i32 = ir.IntType(32)
        one = builder.insert_element(nothing, wanted, ir.Constant(i32, 0))
        zeros = ir.Constant(ir.VectorType(i32, lanes), [0] * lanes)
        keys = builder.shuffle_vector(one, nothing, zeros)
        below = builder.bitcast(builder.icmp_unsigned("<", values, keys), ir.IntType(lanes))
        mask = builder.sub(builder.shl(ir.Constant(whole, 1), args[3]), ir.Constant(whole, 1))
        return builder.ctpop(builder.and_(builder.zext(below, whole), mask))

    return types.uint64(array, types.uint64, types.uint64, types.uint64), codegen
