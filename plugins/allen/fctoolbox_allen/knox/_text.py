"""The compiled loops that turn the text of a table of numbers into floats, and floats' text into tables."""

# mypy: disable-error-code="untyped-decorator, no-untyped-call, no-untyped-def"

import numpy as np
from numba import int64, uint64

from fctoolbox.compiled import compiled

# What stopped the loop; `GOOD` is the end of the block.
GOOD, NOT_A_NUMBER, NOT_FINITE, TOO_MANY, TOO_FEW = range(5)
SLOT = 25  # characters of a value of 18 decimals and its separator: 1.234567890123456789e-03,
_COMMA, _NEWLINE, _RETURN, _DOT, _MINUS, _PLUS = (ord(each) for each in ",\n\r.-+")
_ZERO, _NINE, _SMALL_E, _BIG_E = (ord(each) for each in "09eE")
# The zero that fills most of such a table, as three 8-byte words.
_ZERO_1, _ZERO_2, _ZERO_3 = (int.from_bytes(part, "little") for part in (b"0.000000", b"00000000", b"0000e+00"))
_AT_LEAST, _AT_ONCE = 16, 1024
_MOST_POWER = 400
POWERS = np.array([float(f"1e{power}") for power in range(-_MOST_POWER, _MOST_POWER + 1)])  # 0 and inf at the ends
_OVERFLOW = float(2**128 - 2**103)  # the least that rounds to infinity in 32 bits


@compiled(inline="always")
def _word(text, i):
    """Eight characters as one number, the first in its lowest byte."""
    j = uint64(i)  # an index that cannot be negative: only then do the eight become one load
    return (
        uint64(text[j])
        | uint64(text[j + uint64(1)]) << uint64(8)
        | uint64(text[j + uint64(2)]) << uint64(16)
        | uint64(text[j + uint64(3)]) << uint64(24)
        | uint64(text[j + uint64(4)]) << uint64(32)
        | uint64(text[j + uint64(5)]) << uint64(40)
        | uint64(text[j + uint64(6)]) << uint64(48)
        | uint64(text[j + uint64(7)]) << uint64(56)
    )


@compiled(inline="always")
def _are_digits(word):
    high = uint64(0xF0F0F0F0F0F0F0F0)
    carried = ((word + uint64(0x0606060606060606)) & high) >> uint64(4)
    return ((word & high) | carried) == uint64(0x3333333333333333)


@compiled(inline="always")
def _eight_digits(word):
    """The number that eight digits stand for, in three multiplications (pairs, fours, all eight)."""
    word = word - uint64(0x3030303030303030)
    word = word * uint64(10) + (word >> uint64(8))
    low = (word & uint64(0x000000FF000000FF)) * uint64(0x000F424000000064)
    high = ((word >> uint64(16)) & uint64(0x000000FF000000FF)) * uint64(0x0000271000000001)
    return (low + high) >> uint64(32)


@compiled(boundscheck=False)
def parse(text, start, end, values, column, n_columns, powers):
    """Read numbers from `text[start:end]`, which ends after a separator.

    Returns
    -------
    n_values, column, what stopped it, where in the text that was
    """
    zero_1, zero_2, zero_3 = uint64(_ZERO_1), uint64(_ZERO_2), uint64(_ZERO_3)
    others = np.empty(_AT_ONCE, dtype=np.uint16)  # places of what is no zero
    i, n = start, 0
    last, most = n_columns - 1, _AT_ONCE
    while i < end:
        # Values in the usual form, of one row, as far as the block goes; the last of a row ends in a newline.
        usual = min(n_columns - column, (end - i) // SLOT, most)
        last_one = last - column
        n_others = uint64(0)
        k = 0
        while k < usual:
            place = uint64(i + SLOT * k)  # what cannot be negative needs no check for counting from the end
            if text[place + uint64(24)] != (_NEWLINE if k == last_one else _COMMA):
                break
            first, middle, third = _word(text, place), _word(text, place + uint64(8)), _word(text, place + uint64(16))
            values[uint64(n + k)] = 0
            # Without a branch: nobody can foretell which value is no zero.
            others[n_others] = k
            n_others += uint64(((first ^ zero_1) | (middle ^ zero_2) | (third ^ zero_3)) != uint64(0))
            k += 1
        done = k
        for j in range(n_others):
            # Digits at 0, 2 … 19, 22 and 23; a dot, an e and a sign between them.
            k = int64(others[uint64(j)])
            place = uint64(i + SLOT * k)
            second, third = _word(text, place + uint64(2)), _word(text, place + uint64(10))
            lead = int64(text[place]) - _ZERO
            tens = int64(text[place + uint64(22)]) - _ZERO
            ones = int64(text[place + uint64(23)]) - _ZERO
            sign = text[place + uint64(21)]
            power = tens * 10 + ones
            if not (
                _are_digits(second)
                and _are_digits(third)
                and 0 <= lead <= 9
                and 0 <= tens <= 3
                and 0 <= ones <= 9
                and text[place + uint64(1)] == _DOT
                and text[place + uint64(20)] == _SMALL_E
                and (sign == _MINUS or sign == _PLUS)  # noqa: SIM109  (a tuple is slower)
                and _ZERO <= text[place + uint64(18)] <= _NINE
                and _ZERO <= text[place + uint64(19)] <= _NINE
                and power < 38
            ):
                done = k
                break
            # 17 digits decide a double; the last two would change nothing.
            digits = uint64(lead) * uint64(10**16) + _eight_digits(second) * uint64(10**8) + _eight_digits(third)
            power = -power if sign == _MINUS else power
            values[uint64(n + k)] = float(digits) * powers[uint64(_MOST_POWER - 16 + power)]
        # Behind one that is unusual there are often more: what lies between is not looked at again and again.
        most = min(2 * most, _AT_ONCE) if done == usual else _AT_LEAST
        i += SLOT * done
        n += done
        column += done
        if column == n_columns:
            column = 0
        if done:
            continue
        # Any other way to write a number.
        begin = i
        if column == 0 and (text[i] == _NEWLINE or (text[i] == _RETURN and text[i + 1] == _NEWLINE)):
            i += 1 if text[i] == _NEWLINE else 2  # an empty line
            continue
        negative = text[i] == _MINUS
        if text[i] == _MINUS or text[i] == _PLUS:
            i += 1
        digits, n_digits, power = uint64(0), 0, 0
        any_digit, dot = False, False
        while True:
            character = text[i]
            if _ZERO <= character <= _NINE:
                any_digit = True
                if n_digits < 19:
                    digits = digits * uint64(10) + uint64(character - _ZERO)
                    n_digits += digits > 0
                    power -= dot
                else:
                    power += not dot
            elif character == _DOT and not dot:
                dot = True
            else:
                break
            i += 1
        if not any_digit:
            return n, column, NOT_A_NUMBER, begin
        if text[i] == _SMALL_E or text[i] == _BIG_E:
            i += 1
            down = text[i] == _MINUS
            if text[i] == _MINUS or text[i] == _PLUS:
                i += 1
            if not _ZERO <= text[i] <= _NINE:
                return n, column, NOT_A_NUMBER, begin
            exponent = 0
            while _ZERO <= text[i] <= _NINE:
                exponent = min(exponent * 10 + (text[i] - _ZERO), 10**6)
                i += 1
            power += -exponent if down else exponent
        if text[i] == _RETURN and text[i + 1] == _NEWLINE:
            i += 1
        ends_row = text[i] == _NEWLINE
        if not ends_row and text[i] != _COMMA:
            return n, column, NOT_A_NUMBER, begin
        if digits == 0:
            value = 0.0
        elif power + n_digits > 300 or power + n_digits < -300:
            value = 0.0 if power < 0 else np.inf
        elif power < -300:  # twenty digits before a power that no double holds
            value = float(digits) * powers[_MOST_POWER + power + 20] * 1e-20
        else:
            value = float(digits) * powers[_MOST_POWER + power]
        if value >= _OVERFLOW:
            return n, column, NOT_FINITE, begin
        if ends_row and column < last:
            return n, column, TOO_FEW, begin
        if not ends_row and column == last:
            return n, column, TOO_MANY, begin
        values[n] = -value if negative else value
        n += 1
        i += 1
        column = 0 if ends_row else column + 1
    return n, column, GOOD, i


@compiled(boundscheck=False)
def write(levels, words, n_columns, text):
    """Put the words of the levels into `text`, a separator after each.

    Parameters
    ----------
    levels : (n_values,) integers
        Rows of `words`.
    words : (n_levels, 24) bytes
    n_columns : int
    text : (25 n_values,) bytes
        Is filled.
    """
    for k in range(levels.size):
        word = words[levels[k]]
        at = SLOT * k
        for j in range(SLOT - 1):
            text[at + j] = word[j]
        text[at + SLOT - 1] = _NEWLINE if (k + 1) % n_columns == 0 else _COMMA
