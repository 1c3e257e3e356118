"""Bytes changed at random, by dice that fall the same each time."""


def changed(content, dice, another, put_in, longest):
    """Return bytes with some of them changed, taken out, put in or repeated, or cut off.

    Args:
        content: the bytes.
        dice: what decides.
        another: from the dice and a byte, what stands in its place.
        put_in: from the dice, what is put in between.
        longest: no repeated piece has as many bytes.
    """
    made = bytearray(content)
    for _ in range(dice.choice([1, 1, 2, 8])):
        place = dice.randrange(len(made) or 1)
        match dice.randrange(5):
            case 0 if made:
                made[place] = another(dice, made[place])
            case 1:
                del made[place : place + dice.randrange(1, 9)]
            case 2:
                made[place:place] = put_in(dice)
            case 3:
                made[place:place] = made[place : place + dice.randrange(1, longest)]
            case _ if dice.random() < 0.3:
                del made[place:]
    return bytes(made)
