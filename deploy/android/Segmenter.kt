// LiteRT on Android. Compiled by kotlinc against the signatures it uses, not run: no Android SDK was at hand.
//
// build.gradle.kts:  dependencies { implementation("com.google.ai.edge.litert:litert:1.4.0") }
//                    android { androidResources { noCompress += "tflite" } }
// src/main/assets/:  model.tflite, from `python cli.py export MODEL --format litert --size 360x480 --output phone`

import android.content.Context
import android.graphics.Bitmap
import java.io.FileInputStream
import java.nio.ByteBuffer
import java.nio.ByteOrder
import java.nio.MappedByteBuffer
import java.nio.channels.FileChannel
import org.tensorflow.lite.Interpreter

/** Class ids of photographs. `height` and `width` are the artifact's: `size` in its manifest.json. One thread at a time. */
class Segmenter(context: Context, private val height: Int, private val width: Int, threads: Int = 4) : AutoCloseable {
    private val interpreter = Interpreter(load(context), Interpreter.Options().setNumThreads(threads))

    // The artifact takes raw RGB, uint8 (1, height, width, 3), and gives uint8 (1, height, width).
    private val image = ByteBuffer.allocateDirect(height * width * 3).order(ByteOrder.nativeOrder())
    private val labels = ByteBuffer.allocateDirect(height * width).order(ByteOrder.nativeOrder())

    /** One class id for each pixel, row by row; the photograph is stretched to the artifact's size. */
    fun segment(photograph: Bitmap): ByteArray {
        val pixels = IntArray(height * width)
        // What ImageDecoder gives lies in the GPU's memory, where pixels cannot be read.
        val readable = if (photograph.config == Bitmap.Config.HARDWARE) photograph.copy(Bitmap.Config.ARGB_8888, false) else photograph
        Bitmap.createScaledBitmap(readable, width, height, true).getPixels(pixels, 0, width, 0, 0, width, height)
        image.rewind()
        for (pixel in pixels) {
            image.put((pixel shr 16).toByte()).put((pixel shr 8).toByte()).put(pixel.toByte())
        }
        image.rewind()
        labels.rewind()
        interpreter.runSignature(mapOf("image" to image), mapOf("label_ids" to labels), "serving_default")
        labels.rewind()
        return ByteArray(height * width).also { labels.get(it) }
    }

    override fun close() = interpreter.close()

    private fun load(context: Context): MappedByteBuffer =
        context.assets.openFd("model.tflite").use { file ->
            FileInputStream(file.fileDescriptor).channel.map(
                FileChannel.MapMode.READ_ONLY, file.startOffset, file.declaredLength)
        }
}
