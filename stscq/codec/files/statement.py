"""What the file of a decompressed picture says of itself: that a machine made it (IPTC, in XMP), and from what."""

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for "created by a model trained on pictures". Not compositeWithTrainedAlgorithmicMedia, which says that
some of the pixels were photographed: of a decompressed face none was, a decoder painted all of them."""
DESCRIPTION = (
    "A face painted by a decoder (stscq) from some dozens of bytes: a machine reconstruction, not a photograph."
)
XMP = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmp:CreatorTool="stscq"
    Iptc4xmpExt:DigitalSourceType="{SOURCE}">
   <dc:description><rdf:Alt><rdf:li xml:lang="x-default">{DESCRIPTION}</rdf:li></rdf:Alt></dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""
MARKED = "watermark"


def origin_note(made_of: str, watermark: int | None) -> str:
    """Of a picture's file: what it was made from, `CompressedFile.origin`, and the version of its mark, if it has one.

    Two pictures with the same note have the same pixels, on one machine.
    """
    return made_of if watermark is None else f"{made_of} {MARKED} {watermark}"
